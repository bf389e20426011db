# Tells what is known here of the switch ID: what ran before it and, where it was
# undone, why. Arguments: marker, deployment id. Changes nothing.
set -u
marker=$1 id=$2
dir=/run/ferry/$id
[ -s "$dir/note" ] || exit 0
read -r _ _ _ _ _ previous <"$dir/note"
say previous "$previous"
[ "$(readlink "$dir/decided")" != undo ] || tell_why "$dir"
exit 0
