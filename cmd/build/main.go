// Command build builds ferry with the helpers for hosts inside; `make build`
// starts it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"ferry/internal/release"
)

func main() {
	b := release.Build{Helpers: release.Platforms}
	flag.StringVar(&b.To, "o", "bin/ferry", "ferry's file")
	flag.StringVar(&b.For, "for", "", "the platform of ferry, such as darwin/arm64 (default: this one)")
	flag.StringVar(&b.Version, "version", "", "the tag of a release")
	flag.StringVar(&b.Commit.ID, "commit", "", "the commit that is built (default: Go asks git)")
	flag.StringVar(&b.Commit.Date, "date", "", "the commit's date, such as 2026-11-24T12:44:18Z")
	flag.BoolVar(&b.Commit.Modified, "modified", false, "there are changes on top of the commit")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := b.Do(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}
