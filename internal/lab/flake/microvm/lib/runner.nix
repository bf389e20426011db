# A runner of microvm.nix's shape: bin/* are links to scripts elsewhere in the
# store, share/microvm tells what is inside. `process` is a runner that only
# waits: cheap, where a test needs many VMs or no guest.
{ packages, config, hypervisor }:
let
  inherit (packages) run writeShellScript bash socat iproute2 virtiofsd;
  inherit (config.networking) hostName;
  inherit (config.system.build) toplevel;
  cfg = config.microvm;

  concatMapStrings = f: list: builtins.concatStringsSep "" (map f list);
  concatMapAttrs = f: set: builtins.concatStringsSep "" (map (n: f n set.${n}) (builtins.attrNames set));
  optionals = condition: list: if condition then list else [ ];
  optionalAttrs = condition: set: if condition then set else { };
  enumerate = list: builtins.genList (i: (builtins.elemAt list i) // { index = toString i; }) (builtins.length list);

  safe = builtins.match "[[:alnum:],._+:@%/-]+";
  escapeShellArg = arg:
    let s = toString arg;
    in if safe s != null then s else "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] s}'";
  escapeShellArgs = args: builtins.concatStringsSep " " (map escapeShellArg args);

  taps = builtins.filter (i: i.type == "tap") cfg.interfaces;
  virtiofsShares = builtins.filter (s: s.proto == "virtiofs") cfg.shares;

  command = {
    qemu = qemuCommand;
    process = processCommand;
  }.${hypervisor};

  append = "reboot=t panic=-1 ${toString cfg.kernelParams}";

  qemuCommand = escapeShellArgs ([
    "${cfg.qemu.package}/bin/qemu-system-x86_64"
    "-name" hostName
    # The machine's own keyboard controller would take Ctrl-Alt-Del from the
    # one that follows.
    "-M" "${cfg.qemu.machine},accel=tcg,acpi=on,i8042=off,mem-merge=on"
    "-m" "${toString cfg.mem}M"
    "-smp" cfg.vcpu
    "-nodefaults" "-no-user-config"
    "-no-reboot"
    "-kernel" "${cfg.kernel}/bzImage"
    "-initrd" cfg.initrdPath
    "-chardev" "stdio,id=stdio,signal=off"
    "-device" "virtio-rng-pci"
    "-serial" "chardev:stdio"
    "-cpu" cfg.cpu
    "-device" "i8042"
    "-append" "console=ttyS0 ${append}"
    "-nographic"
    "-qmp" "unix:${cfg.socket},server,nowait"
  ] ++ builtins.concatMap
    (v: [
      "-drive" "id=vd${v.index},format=raw,file=${v.image},if=none,discard=unmap,read-only=off"
      "-device" "virtio-blk-pci,drive=vd${v.index}"
    ])
    (enumerate cfg.volumes)
  ++ optionals (cfg.shares != [ ]) ([
    "-numa" "node,memdev=mem"
    "-object" "memory-backend-memfd,id=mem,size=${toString cfg.mem}M,share=on"
  ] ++ builtins.concatMap
    (s: {
      virtiofs = [
        "-chardev" "socket,id=fs${s.index},path=${s.socket}"
        "-device" "vhost-user-fs-pci,chardev=fs${s.index},tag=${s.tag}"
      ];
      "9p" = [
        "-fsdev" "local,id=fs${s.index},path=${s.source},security_model=${s.securityModel},readonly=${if s.readOnly then "true" else "false"}"
        "-device" "virtio-9p-pci,fsdev=fs${s.index},mount_tag=${s.tag}"
      ];
    }.${s.proto})
    (enumerate cfg.shares))
  ++ builtins.concatMap
    (i: [
      "-netdev" "tap,id=${i.id},ifname=${i.id},script=no,downscript=no${if cfg.vcpu > 1 then ",queues=${toString cfg.vcpu}" else ""}"
      "-device" "virtio-net-pci,netdev=${i.id},mac=${i.mac},romfile=${if cfg.vcpu > 1 then ",mq=on,vectors=${toString (2 * cfg.vcpu + 2)}" else ""}"
    ])
    taps
  ++ optionals (cfg.vsock.cid != null) [ "-device" "vhost-vsock-pci,guest-cid=${toString cfg.vsock.cid}" ]
  ++ cfg.qemu.extraArgs);

  processCommand = escapeShellArgs ([
    "${process}/bin/process-vm" "-name" hostName "-m" "${toString cfg.mem}M" "-smp" cfg.vcpu
    "-kernel" "${cfg.kernel}/bzImage" "-initrd" cfg.initrdPath "-append" append
    "-control" "${hostName}.pid"
  ] ++ builtins.concatMap (v: [ "-drive" "file=${v.image}" ]) cfg.volumes
  ++ builtins.concatMap (i: [ "-netdev" "${i.type},id=${i.id},mac=${i.mac}" ]) cfg.interfaces);

  # The hypervisor of process runners.
  process = run "process-vm-1.0" { text = builtins.readFile ./process-vm.sh; shell = "${bash}/bin/bash"; } ''
    mkdir -p $out/bin
    { echo "#! $shell"; printf '%s' "$text"; } >$out/bin/process-vm
    chmod 555 $out/bin/process-vm
  '';

  createVolumes = concatMapStrings
    (v: ''
      if [ ! -e '${v.image}' ]; then
        touch '${v.image}'
        truncate -s ${toString v.size}M '${v.image}'
      fi
    '')
    cfg.volumes;

  # A keyboard's Ctrl-Alt-Del by QMP, then wait for the end of the session.
  key = code: { type = "key"; data = { down = true; key = { type = "qcode"; data = code; }; }; };
  writeQmp = data: "echo '${builtins.toJSON data}'\n";
  shutdown = {
    qemu = ''
      if [ ! -S ${cfg.socket} ]; then
        exit 0
      fi
      (
        ${writeQmp { execute = "qmp_capabilities"; }}
        ${writeQmp { execute = "input-send-event"; arguments.events = map key [ "ctrl" "alt" "delete" ]; }}
        # until the hypervisor closes the session
        cat
      ) | \
      ${socat}/bin/socat STDIO UNIX:${cfg.socket},shut-none
    '';
    process = ''
      if [ -e ${hostName}.pid ]; then
        read -r pid <${hostName}.pid
        sleep ${toString config.lab.shutdownSleep}
        kill -TERM "$pid"
      fi
    '';
  }.${hypervisor};

  binScripts = {
    microvm-run = ''
      set -eou pipefail
      ${cfg.preStart}
      ${createVolumes}
      runtime_args=

      exec -a "microvm@${hostName}" ${command} ''${runtime_args:-}
    '';
    microvm-shutdown = shutdown;
  } // optionalAttrs (taps != [ ]) {
    tap-up = "set -eou pipefail\n" + concatMapStrings
      (i: ''
        if [ -e /sys/class/net/${i.id} ]; then
          ${iproute2}/bin/ip link delete '${i.id}'
        fi

        ${iproute2}/bin/ip tuntap add name '${i.id}' mode tap user 'microvm' vnet_hdr ${if cfg.vcpu > 1 then "multi_queue" else ""}
        ${iproute2}/bin/ip link set '${i.id}' up
      '')
      taps;
    tap-down = "set -ou pipefail\n" + concatMapStrings (i: "${iproute2}/bin/ip link delete '${i.id}'\n") taps;
  } // optionalAttrs (virtiofsShares != [ ]) {
    virtiofsd-run = ''
      set -eou pipefail
      ${concatMapStrings (s: ''
        rm -f ${s.socket}
        ${virtiofsd}/bin/virtiofsd --socket-path=${s.socket} --socket-group=kvm --shared-dir=${s.source} \
          --cache=${s.cache} --inode-file-handles=never --posix-acl --xattr &
      '') virtiofsShares}
      ${concatMapStrings (s: ''
        until [ -S ${s.socket} ]; do sleep 0.1; done
      '') virtiofsShares}
      systemd-notify --ready
      wait -n
    '';
  } // cfg.binScripts;

  links = builtins.mapAttrs (name: text: writeShellScript "microvm-${hostName}-${name}" text) binScripts;
in
run "microvm-${hypervisor}-${hostName}" { } ''
  mkdir -p $out/bin
  ${concatMapAttrs (name: script: "ln -s ${script} $out/bin/${name}\n") links}

  mkdir -p $out/share/microvm
  ${if cfg.systemSymlink then "ln -s ${toplevel} $out/share/microvm/system" else ""}

  echo vnet_hdr > $out/share/microvm/tap-flags
  ${if cfg.vcpu > 1 then "echo multi_queue >> $out/share/microvm/tap-flags" else ""}
  ${concatMapStrings (i: "echo ${i.id} >> $out/share/microvm/tap-interfaces\n") taps}
  ${concatMapStrings (s: ''
    mkdir -p $out/share/microvm/virtiofs/${s.tag}
    echo "${s.socket}" > $out/share/microvm/virtiofs/${s.tag}/socket
    echo "${s.source}" > $out/share/microvm/virtiofs/${s.tag}/source
  '') virtiofsShares}
  ${if cfg.vsock.cid != null then "echo ${toString cfg.vsock.cid} > $out/share/microvm/vsock-cid" else ""}
  echo "${hypervisor}" > $out/share/microvm/hypervisor
'' // {
  canShutdown = true;
  supportsNotifySocket = false;
  tapMultiQueue = cfg.vcpu > 1;
  inherit hypervisor;
  inherit (cfg) registerWithMachined;
  meta.mainProgram = "microvm-run";
}
