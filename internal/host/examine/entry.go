package examine

import (
	"context"
	"os/exec"
)

// hasEntry asks getent, which also knows users that are not in /etc/passwd.
func hasEntry(ctx context.Context, database, name string) bool {
	return exec.CommandContext(ctx, "getent", database, name).Run() == nil
}
