# Stands where a hypervisor would: prints what it got and waits for SIGTERM.
control=
args=("$@")
while [ $# -gt 0 ]; do
	[ "$1" != -control ] || control=$2
	shift
done
echo "process VM: ${args[*]}"
echo $$ >"$control"
trap 'echo "process VM: shutting down"; rm -f "$control"; exit 0' TERM
while :; do
	sleep 3600 &
	wait $!
done
