package health

import (
	"slices"
	"testing"
)

// What is written down of checks has no password and no query, and what is left out
// has the name that messages have.
func TestSecretsAreWithheld(t *testing.T) {
	c := Checks{TCP: []string{"web:80"}, HTTP: []string{"http://h/open", "https://me:hunter2@h/a", "http://h/b?key=hunter2", "http://h/c?"}}
	open, withheld := c.Open()
	if !slices.Equal(open.TCP, c.TCP) || !slices.Equal(open.HTTP, c.HTTP[:1]) {
		t.Errorf("open: %+v", open)
	}
	if want := []string{"HTTP https://h/a", "HTTP http://h/b", "HTTP http://h/c"}; !slices.Equal(withheld, want) {
		t.Errorf("withheld: %q", withheld)
	}
	found := c.Named(withheld)
	if !slices.Equal(found.HTTP, c.HTTP[1:]) || len(found.TCP) != 0 || !slices.Equal(found.Names(), withheld) {
		t.Errorf("named: %+v", found)
	}
	if both := open.And(found); !slices.Equal(both.HTTP, c.HTTP) || !slices.Equal(both.TCP, c.TCP) {
		t.Errorf("both: %+v", both)
	}
	if open, withheld := (Checks{}).Open(); !open.Empty() || withheld != nil {
		t.Error(open, withheld)
	}
}

func TestCommandsThatLookSecret(t *testing.T) {
	for command, secret := range map[string]bool{
		"systemctl is-active nginx": false, "curl -sf http://localhost/healthz": false, "test -S /run/app.sock": false,
		"curl -u me:x localhost": true, "PGPASSWORD=x psql -c 'select 1'": true, "curl http://me:x@localhost": true,
		"curl 'http://h/?key=x'": true, "curl -H 'Authorization: Bearer x' h": true, "app --api-key x": true,
	} {
		if LooksSecret(command) != secret {
			t.Errorf("%q", command)
		}
	}
}
