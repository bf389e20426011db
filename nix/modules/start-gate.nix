# The unit in which a VM waits to be next to start. The same as
# internal/host/units/microvm-start-gate@.service, but for where programs are.
{
  config,
  lib,
  pkgs,
}:
let
  gate = config.ferry.host.startGate;
in
{
  description = "Wait for MicroVM '%i' to be next to start";
  partOf = [ "microvm@%i.service" ];
  after = [
    "ferry-settle.service"
    "microvm-set-booted@%i.service"
  ];
  before = [
    "microvm-tap-interfaces@%i.service"
    "microvm-macvtap-interfaces@%i.service"
    "microvm-pci-devices@%i.service"
    "microvm-virtiofsd@%i.service"
    "microvm@%i.service"
  ];
  path = [
    pkgs.util-linux
    pkgs.coreutils
    config.systemd.package
  ];
  environment = {
    STARTS_AT_ONCE = toString gate.startsAtOnce;
    BOOT_SECONDS = toString gate.bootSeconds;
  };
  restartIfChanged = false;
  unitConfig.StartLimitIntervalSec = 0;
  scriptArgs = "%i";
  # Slots are locks on files, which the kernel drops with this process. Who finds
  # none free waits at one of them.
  script = ''
    set -u
    unit=microvm@$1.service
    slots=$STARTS_AT_ONCE
    if [ "$slots" -lt 1 ]; then
      slots=$(nproc)
      if [ "$slots" -lt 2 ]; then slots=2; fi
    fi
    i=0
    while [ "$i" -lt "$slots" ]; do
      exec 9>"$RUNTIME_DIRECTORY/slot-$i"
      if flock -n 9; then break; fi
      i=$((i + 1))
    done
    if [ "$i" -ge "$slots" ]; then
      exec 9>"$RUNTIME_DIRECTORY/slot-$(($$ % slots))"
      flock 9
    fi
    systemd-notify --ready --status="starting"
    while :; do
      case $(systemctl show --value -p Job "$unit") in ""|0) break;; esac
      sleep 0.5
    done
    if systemctl --quiet is-active "$unit"; then sleep "$BOOT_SECONDS"; fi
  '';
  serviceConfig = {
    Type = "notify";
    NotifyAccess = "all";
    RuntimeDirectory = "microvm-starts";
    RuntimeDirectoryPreserve = true;
    TimeoutStartSec = "infinity";
    SyslogIdentifier = "microvm-start-gate@%i";
    NoNewPrivileges = true;
    ProtectSystem = "strict";
    PrivateDevices = true;
    PrivateTmp = true;
    ProtectKernelTunables = true;
    ProtectKernelModules = true;
    ProtectKernelLogs = true;
    ProtectControlGroups = true;
    ProtectClock = true;
    ProtectHostname = true;
    LockPersonality = true;
    MemoryDenyWriteExecute = true;
    RestrictAddressFamilies = "AF_UNIX";
    RestrictNamespaces = true;
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
  };
}
