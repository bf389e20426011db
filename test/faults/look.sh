# Prints what a host has of the VM $1, one KEY=VALUE a line. Changes nothing.
vm=/var/lib/microvms/$1
roots=/nix/var/nix/gcroots
profile=/nix/var/nix/profiles/ferry/$1
for link in current old booted; do
	echo "$link=$(readlink "$vm/$link")"
done
[ ! -e "$vm/flake" ] || echo "flake=$(cat "$vm/flake")"
echo "generation=$(readlink "$profile/runner")"
for g in "$profile"/runner-*-link; do
	[ -L "$g" ] && echo "generations=${g##*/} $(readlink "$g")"
done
for root in "$1" "booted-$1" "old-$1"; do
	echo "links=$root $(readlink "$roots/microvm/$root")"
done
# What a guest was switched to counts for one start of its unit.
grep -q "\"invocationId\":\"$(systemctl show --value -p InvocationID "microvm@$1")\"" "/var/lib/ferry/vms/$1/running.json" 2>/dev/null &&
	echo "running=$(readlink "$roots/ferry/$1/running")"
systemctl show -p ActiveState -p InvocationID "microvm@$1" | sed 's/^ActiveState=/active=/; s/^InvocationID=/invocation=/'

# What must not be left.
flock -n "/var/lib/ferry/locks/$1" true 2>/dev/null || [ ! -e "/var/lib/ferry/locks/$1" ] || echo "left=the lock"
find "$roots/ferry/$1" -name 'pending*' 2>/dev/null | sed 's/^/left=/'
[ ! -e "/var/lib/ferry/vms/$1/deployment.json" ] || echo "left=the note of a deployment"
find /var/lib/microvms /var/lib/ferry/vms "$roots" /nix/var/nix/profiles/ferry -name '.ferry-*' | sed 's/^/left=/'
systemctl list-units --all --plain --no-legend 'ferry-*' | grep -v '^ferry-settle\.service ' | sed 's/^/unit=/; s/ .*//'
[ ! -e "/var/lib/ferry/vms/$1/history.jsonl" ] || sed 's/^/history=/' "/var/lib/ferry/vms/$1/history.jsonl"

# Of each path that must stay: is it valid, and kept by a link and not only by a
# process?
for p in $(for link in current old booted; do readlink "$vm/$link"; done; readlink "$roots/ferry/$1/running"; echo "$2") ; do
	case $seen in *" $p "*) continue ;; esac
	seen="$seen $p "
	nix-store --check-validity "$p" 2>/dev/null && [ -e "$p" ] || { echo "invalid=$p"; continue; }
	nix-store --query --roots "$p" 2>/dev/null | grep -v '^/proc/\|^{' | grep -q . || echo "unrooted=$p"
done
