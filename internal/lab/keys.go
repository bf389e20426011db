package lab

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/crypto/ssh"
)

// ensureKeys makes the lab's SSH keys: the operator's, one host key a machine,
// and one host key `vm` that all QEMU guests share.
func (l *Lab) ensureKeys(context.Context) error {
	for _, dir := range []string{l.path("keys"), l.path("log")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	names := []string{"login", "vm"}
	for _, m := range l.machines {
		names = append(names, m.Name)
	}
	for _, name := range names {
		if err := ensureKey(l.path("keys", name), name+"@ferry-lab"); err != nil {
			return err
		}
	}
	return nil
}

// ensureKey writes an ed25519 key pair to file and file.pub; the public half
// comes last, and its presence means that both are complete.
func ensureKey(file, comment string) error {
	if _, err := os.Stat(file + ".pub"); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	pub, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(priv, comment)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		return err
	}
	sshPub, err := ssh.NewPublicKey(pub)
	if err != nil {
		return err
	}
	tmp := file + ".pub.new"
	if err := os.WriteFile(tmp, ssh.MarshalAuthorizedKey(sshPub), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, file+".pub")
}

// key returns the private and the public half of one of the lab's keys.
func (l *Lab) key(name string) (private, public string, err error) {
	priv, err := os.ReadFile(l.path("keys", name))
	if err != nil {
		return "", "", fmt.Errorf("reading a key: %w", err)
	}
	pub, err := os.ReadFile(l.path("keys", name+".pub"))
	if err != nil {
		return "", "", fmt.Errorf("reading a key: %w", err)
	}
	return string(priv), string(pub), nil
}
