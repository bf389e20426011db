# Runs on a host as root, under any POSIX sh: finds, runs or installs ferry's
# helper. Arguments: run|install|once BASE SHA256 …; the first line of output
# that begins with `ferry-helper: ` is the answer (see helper.go).
set -u
what=$1 base=$2 sum=$3
shift 3
bin=$base/bin
file=$bin/$sum/ferry

answer() {
	printf 'ferry-helper: %s\n' "$*"
}

refuse() {
	answer refused "$*"
	exit 114
}

# only_root PATH: no link, root's, and nobody else may write it.
only_root() {
	[ ! -h "$1" ] || return 1
	set -- $(ls -ldn -- "$1" 2>/dev/null)
	[ "${3-}" = 0 ] || return 1
	case $1 in
	?????w* | ????????w*) return 1 ;;
	esac
}

# own_dir PATH: makes the directory, or accepts it if it is root's alone.
own_dir() {
	mkdir -m 0700 "$1" 2>/dev/null
	if ! only_root "$1" || ! [ -d "$1" ]; then
		refuse "$1 is not a directory that only root can write"
	fi
}

check_base() {
	for d in "$base" "$bin"; do
		if [ -h "$d" ] || [ -e "$d" ]; then
			only_root "$d" && [ -d "$d" ] || refuse "$d is not a directory that only root can write"
		fi
	done
}

run() {
	check_base
	if only_root "$bin/$sum" && only_root "$file" && [ -f "$file" ] && [ -x "$file" ]; then
		answer ok
		exec "$file" "$@"
	fi
	gzip=plain
	command -v gzip >/dev/null && gzip=gzip
	answer missing "$gzip" "$(uname -s)" "$(uname -m)"
	exit 113
}

# install HOW: the binary is on the standard input, HOW is gzip or plain. It
# gets its name only when its content is right and on the disk, by a rename, so
# that several at once do no harm.
install() {
	umask 077
	own_dir "$base"
	own_dir "$bin"
	tmp=$(mktemp -d "$bin/tmp.XXXXXXXX") || refuse "no temporary directory in $bin"
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 1' HUP INT TERM
	case $1 in
	gzip) gzip -dc >"$tmp/ferry" ;;
	*) cat >"$tmp/ferry" ;;
	esac || refuse "the upload could not be written to $bin (is the disk full?)"
	got=$(sha256sum <"$tmp/ferry") || refuse "sha256sum is not installed"
	[ "${got%% *}" = "$sum" ] || refuse "the upload arrived damaged: its SHA-256 is ${got%% *}, not $sum"
	chmod 0755 "$tmp/ferry"
	sync -f "$tmp/ferry" 2>/dev/null || sync
	# Only root could have put anything else there. What is not there yet is left
	# alone: another upload may be making it.
	if [ -h "$bin/$sum" ] || [ -e "$bin/$sum" ]; then
		only_root "$bin/$sum" && [ -d "$bin/$sum" ] || rm -rf "$bin/$sum"
	fi
	mkdir -p "$bin/$sum"
	[ -f "$file" ] || rm -rf "$file"
	mv -f "$tmp/ferry" "$file" || refuse "the helper could not be moved to $file"
	prune
	answer ok
}

# once HOW SIZE BLOCKS ARGUMENTS: runs a helper that leaves nothing here. The
# binary is at the beginning of the standard input, filled up to blocks of 64 KiB
# so that dd takes exactly that much; what follows is for the helper. It is
# removed before it runs, so that nothing is left however this ends.
once() {
	how=$1 size=$2 blocks=$3
	shift 3
	mask=$(umask)
	umask 077
	tmp=
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 1' HUP INT TERM
	for parent in /run /tmp /var/tmp /var/lib; do
		tmp=$(mktemp -d "$parent/ferry-once.XXXXXXXX" 2>/dev/null) || continue
		printf '#!/bin/sh\n' >"$tmp/try" && chmod 0700 "$tmp/try" && "$tmp/try" 2>/dev/null && break
		rm -rf "$tmp" # mounted noexec, or full
		tmp=
	done
	[ -n "$tmp" ] || refuse "no directory allows running a program"
	dd bs=65536 count="$blocks" iflag=fullblock of="$tmp/sent" 2>/dev/null
	case $how in
	gzip) gzip -dc <"$tmp/sent" >"$tmp/ferry" 2>/dev/null ;;
	*) head -c "$size" "$tmp/sent" >"$tmp/ferry" ;;
	esac
	got=$(sha256sum <"$tmp/ferry") || refuse "sha256sum is not installed"
	[ "${got%% *}" = "$sum" ] || refuse "the upload arrived damaged: its SHA-256 is ${got%% *}, not $sum"
	chmod 0700 "$tmp/ferry"
	exec 9<"$tmp/ferry"
	rm -rf "$tmp"
	trap - EXIT HUP INT TERM
	umask "$mask"
	answer ok
	exec /proc/self/fd/9 "$@"
}

# prune keeps the three newest versions, and the uploads that may still be
# running.
prune() {
	kept=0
	for v in $(ls -1t "$bin"); do
		case $v in
		tmp.*) find "$bin/$v" -prune -mmin +60 -exec rm -rf {} + 2>/dev/null ;;
		"$sum") kept=$((kept + 1)) ;;
		*)
			[ "${#v}" = 64 ] || continue
			kept=$((kept + 1))
			[ "$kept" -le 3 ] || rm -rf "${bin:?}/$v"
			;;
		esac
	done
}

if [ "$(id -u)" != 0 ]; then
	answer notroot
	exit 112
fi
case $what in
run) run "$@" ;;
install) install "$@" ;;
once) once "$@" ;;
esac
