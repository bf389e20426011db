set -eu
export PATH=/usr/bin:/bin
out=$(jq -r .outputs.out "$NIX_ATTRS_JSON_FILE")
mkdir "$out"
# Path, hash, size, no deriver, number of references, references.
jq -r '.closure | map([.path, .narHash, .narSize, "", (.references | length)] + .references) | add[]' \
	"$NIX_ATTRS_JSON_FILE" >"$out/registration"
jq -r '.closure[].path' "$NIX_ATTRS_JSON_FILE" >"$out/store-paths"
jq -r '[.closure[].narSize] | add' "$NIX_ATTRS_JSON_FILE" >"$out/total-nar-size"
