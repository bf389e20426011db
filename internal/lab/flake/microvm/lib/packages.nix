# Packages without nixpkgs: what Debian has, by links, and things built by its
# shell. The builders are impure on purpose; the lab's Nix has no sandbox.
rec {
  system = "x86_64-linux";

  run = name: env: script: derivation (env // {
    inherit name system;
    builder = "/bin/sh";
    args = [ "-euc" script ];
    PATH = "/usr/sbin:/usr/bin:/sbin:/bin";
  });

  # A package of links to programs of Debian, `programs` being { name = path; }.
  debian = name: programs: run name { links = builtins.concatStringsSep " " (map (n: "${programs.${n}}:${n}") (builtins.attrNames programs)); } ''
    mkdir -p $out/bin
    for link in $links; do
      ln -s "''${link%%:*}" "$out/bin/''${link##*:}"
    done
  '';

  writeText = name: text: run name { inherit text; } ''printf '%s' "$text" >$out'';

  writeShellScript = name: text: run name { text = "#! ${bash}/bin/bash\n" + text; } ''
    printf '%s' "$text" >$out
    chmod 555 $out
  '';

  bash = debian "bash-5.2.37" { bash = "/bin/bash"; };
  socat = debian "socat-1.8.0" { socat = "/usr/bin/socat"; };
  iproute2 = debian "iproute2-6.15.0" { ip = "/usr/sbin/ip"; };
  virtiofsd = debian "virtiofsd-1.13.0" { virtiofsd = "/usr/libexec/virtiofsd"; };
  qemu = debian "qemu-host-cpu-only-10.0.0" { qemu-system-x86_64 = "/usr/bin/qemu-system-x86_64"; qemu-img = "/usr/bin/qemu-img"; };
  nix = debian "nix-2.26.3" (builtins.listToAttrs (map
    (name: { inherit name; value = "/usr/bin/${name}"; })
    [ "nix" "nix-store" "nix-env" "nix-build" "nix-instantiate" "nix-collect-garbage" "nix-daemon" ]));

  # Static, so it also runs in the initial ramdisk.
  busybox = run "busybox-1.37.0" { } ''
    mkdir -p $out/bin
    cp /usr/bin/busybox $out/bin/busybox
  '';

  kernel = run "linux-6.12" { } ''
    mkdir -p $out
    set -- /boot/vmlinuz-*
    for image; do newest=$image; done
    cp "$newest" $out/bzImage
    printf '%s\n' "''${newest#/boot/vmlinuz-}" >$out/version
  '';

  # Modules in the order to load them, already unpacked: each process that an
  # emulated guest need not start saves 50 ms.
  modules = run "linux-6.12-modules-shrunk" { inherit kernel; } ''
    mkdir -p $out
    read -r version <$kernel/version
    n=100
    for module in 9p 9pnet_virtio virtio_net virtio_blk virtio_rng virtiofs overlay; do
      modprobe --set-version "$version" --show-depends "$module" | while read -r how file rest; do
        [ "$how" = insmod ] || continue
        base=$(basename "$file"); base=''${base%.ko*}
        ls $out | grep -q "^...-$base.ko$" && continue
        n=$(( 100 + $(ls $out | wc -l) ))
        case $file in
          *.xz) xz -dc "$file" || busybox xzcat "$file" ;;
          *.zst) zstd -dc "$file" ;;
          *) cat "$file" ;;
        esac >$out/$n-$base.ko
      done
    done
    ls $out
  '';

  initrd = run "initrd-linux-6.12" { inherit modules busybox; init = ./initrd-init.sh; } ''
    mkdir root && cd root
    mkdir -p bin modules proc sys dev run lower rw new
    cp $busybox/bin/busybox bin/
    cp $modules/* modules/
    cp $init init && chmod 755 init
    mkdir -p $out
    # Not compressed: unpacking takes an emulated processor longer than reading.
    find . | sort | busybox cpio -o -H newc >$out/initrd 2>/dev/null
  '';

  # An ordinary package whose name and version show in `nix store diff-closures`.
  package = pname: version: run "${pname}-${version}" { inherit pname version; } ''
    mkdir -p $out/bin
    printf '#!/bin/sh\necho "%s %s"\n' "$pname" "$version" >$out/bin/$pname
    chmod 755 $out/bin/$pname
  '';

  # Fails after a log of 40 lines, the last of which says why.
  failingPackage = run "failing-1.0" { } ''
    i=1
    while [ $i -lt 40 ]; do echo "compiling file $i of 40"; i=$((i + 1)); done
    echo "error: undefined reference to 'frobnicate'" >&2
    exit 1
  '';

  # As nixpkgs' closureInfo: `registration` is for `nix-store --load-db`.
  closureInfo = rootPaths: derivation {
    name = "closure-info";
    inherit system;
    builder = "/bin/sh";
    args = [ ./closure-info.sh ];
    __structuredAttrs = true;
    exportReferencesGraph.closure = rootPaths;
  };
}
