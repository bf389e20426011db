// Command ferry deploys NixOS MicroVMs over SSH.
package main

import (
	"os"

	"ferry/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args)) }
