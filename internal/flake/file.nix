# The value of a Nix file as the outputs of a flake: either it has
# `nixosConfigurations` (and `ferry`), or each of its attributes is a
# configuration, and `ferry` is what a flake's output of that name is. A function
# gets those of `args` that it names, as `nix-build --arg` does it.
{ args }:
value:
let
  inherit (builtins) attrNames filter functionArgs head intersectAttrs isAttrs isFunction typeOf;

  isCallable = v: isFunction v || isAttrs v && v ? __functor;

  called = f:
    let
      wants = if isFunction f then functionArgs f else f.__functionArgs or (functionArgs (f.__functor f));
      lacks = filter (n: !wants.${n} && !(args ? ${n})) (attrNames wants);
    in
    if lacks != [ ] then
      throw "the function in the file needs a value for `${head lacks}`: give it with --arg or --argstr"
    else f (intersectAttrs wants args);

  outputs = if isCallable value then called value else value;
in
if !(isAttrs outputs) then
  throw "the file yields a ${typeOf outputs} instead of an attribute set with nixosConfigurations, or with a configuration for each VM"
else if outputs ? nixosConfigurations then outputs
else {
  nixosConfigurations = removeAttrs outputs [ "ferry" ];
  ferry = outputs.ferry or null;
}
