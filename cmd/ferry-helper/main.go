// Command ferry-helper is what ferry runs on hosts.
package main

import (
	"os"

	"ferry/internal/helper"
)

func main() { os.Exit(helper.Main(os.Args)) }
