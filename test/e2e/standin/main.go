// Command standin is a Hydra's stand-in and a file server (for a binary cache)
// in one, for machines of the lab: it must run where only they can reach it.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"ferry/internal/hydra/hydratest"
)

func main() {
	listen := flag.String("listen", ":80", "address to listen at")
	state := flag.String("state", "", "file with the Hydra's state, read for each request")
	files := flag.String("files", "", "directory to serve")
	flag.Parse()
	read := func() (s hydratest.State, err error) {
		if *state == "" {
			return s, nil
		}
		content, err := os.ReadFile(*state)
		if err != nil {
			return s, err
		}
		return s, json.Unmarshal(content, &s)
	}
	var served http.Handler
	if *files != "" {
		served = http.FileServer(http.Dir(*files))
	}
	server := &http.Server{Addr: *listen, Handler: hydratest.Handler(read, served), ReadHeaderTimeout: 10 * time.Second}
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
	os.Exit(1)
}
