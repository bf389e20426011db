{
  description = "Stands in for microvm.nix where that can't be had: its guest module, with the lab's runners";

  # In a copy of ferry's whole tree (`?dir=nix/standin/microvm`).
  outputs = { self }: import ./.;
}
