// Command dist makes what users get of a release; `make dist` starts it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"ferry/internal/release"
)

func main() {
	var d release.Dist
	flag.StringVar(&d.To, "o", "dist", "the directory for the files")
	flag.StringVar(&d.Version, "version", "", "the tag of the release (default: the commit's, if it has one)")
	platforms := flag.String("platforms", "", "only these, such as linux/amd64,darwin/arm64")
	flag.Parse()
	if *platforms != "" {
		d.Platforms = strings.Split(*platforms, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := d.Do(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "dist:", err)
		os.Exit(1)
	}
}
