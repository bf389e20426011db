# The system inside, in the shape of NixOS's toplevel. Its userland is Debian's.
{ packages, config }:
let
  inherit (packages) run writeText writeShellScript busybox kernel initrd;
  inherit (config.networking) hostName;

  fill = names: values: builtins.replaceStrings (map (n: "@${n}@") names) values;

  www = run "www" {
    page = ''
      <!doctype html>
      <title>${hostName}</title>
      <h1>${config.services.page.text}</h1>
      ${config.services.page.footer}
    '';
  } ''
    mkdir -p $out
    printf '%s' "$page" >$out/index.html
  '';

  units =
    (if config.services.page.enable then {
      "page.service" = ''
        [Unit]
        Description=Web page
        # Tests deploy more often than a person.
        StartLimitIntervalSec=0
        [Service]
        ExecStart=${busybox}/bin/busybox httpd -f -p 80 -h ${www}
        # Started means that it answers.
        ExecStartPost=/bin/bash -c 'until (exec 3<>/dev/tcp/127.0.0.1/80) 2>/dev/null; do sleep 0.05; done'
        Restart=on-failure
      '';
    } else { })
    // (if config.lab.failingUnit then {
      "failing.service" = ''
        [Unit]
        Description=Fails whenever it starts
        [Service]
        Type=oneshot
        RemainAfterExit=yes
        ExecStart=/bin/sh -c 'echo "failing.service: no such table: users" >&2; exit 1'
      '';
    } else { });

  unitFiles = builtins.mapAttrs (name: text: writeText "unit-${name}" text) units;

  etc = run "etc" {
    inherit hostName;
    address = toString config.networking.address;
    sshd = if config.services.openssh.enable then "1" else "";
    note = config.lab.note;
  } ''
    mkdir -p $out/etc/systemd/system $out/etc/lab
    printf '%s\n' "$hostName" >$out/etc/hostname
    printf '%s\n' "$note" >$out/etc/lab/note
    [ -z "$address" ] || printf '%s\n' "$address" >$out/etc/lab/address
    [ -z "$sshd" ] || touch $out/etc/lab/sshd
    ${builtins.concatStringsSep "\n" (map (n: "ln -s ${unitFiles.${n}} $out/etc/systemd/system/${n}") (builtins.attrNames unitFiles))}
  '';

  path = run "system-path" {
    parts = [ config.nix.package ] ++ config.environment.systemPackages
      ++ (if config.lab.buildFails then [ packages.failingPackage ] else [ ]);
  } ''
    mkdir -p $out/bin
    for part in $parts; do ln -sf $part/bin/* $out/bin/; done
  '';

  script = name: writeShellScript name (fill
    [ "sleep" "failActivation" "activation" ]
    [ (toString config.lab.switchSleep) (if config.lab.failingActivation then "1" else "") config.lab.activation ]
    (builtins.readFile (./system + "/${name}.sh")));
in
run "nixos-system-${hostName}-${config.system.nixos.version}" {
  inherit etc path kernel initrd;
  inherit (config.system.nixos) version;
  # A line for each, as NixOS's file has them.
  inhibitors = "{" + builtins.concatStringsSep "," (map
    (n: "\n  ${builtins.toJSON n}: ${builtins.toJSON config.system.switch.inhibitors.${n}}")
    (builtins.attrNames config.system.switch.inhibitors)) + "\n}";
  shell = "${packages.bash}/bin/bash";
  kernelParams = toString config.boot.kernelParams;
  init = script "init";
  activate = script "activate";
  switch = script "switch-to-configuration";
} ''
  mkdir -p $out/bin
  # They name the system that they belong to, as NixOS's do.
  install() { sed "s|@out@|$out|g" "$1" >"$2"; chmod 555 "$2"; }
  install $init $out/init
  install $activate $out/activate
  install $switch $out/bin/switch-to-configuration
  ln -s $etc/etc $out/etc
  ln -s $path $out/sw
  ln -s $kernel/bzImage $out/kernel
  ln -s $initrd/initrd $out/initrd
  printf '%s' "$kernelParams" >$out/kernel-params
  printf '%s' "$version" >$out/nixos-version
  printf '%s\n' "$inhibitors" >$out/switch-inhibitors
  printf '%s' x86_64-linux >$out/system
  echo 'systemd 257' >$out/init-interface-version
'' // { outputName = "out"; }
