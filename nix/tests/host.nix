# ferry's module for hosts: a list of {name, ok}. With nixpkgs' own `lib` and
# microvm.nix's own module for hosts it gives the same.
{
  lib ? import ../standin/nixpkgs/lib,
  microvmHost ? ../standin/microvm/host.nix,
}:
let
  package = name: {
    type = "derivation";
    inherit name;
    outPath = "/nix/store/00000000000000000000000000000000-${name}";
    meta.mainProgram = name;
  };
  script =
    name: text:
    package name
    // {
      inherit text;
    };
  pkgs =
    lib.genAttrs [
      "nix"
      "systemd"
      "coreutils"
      "util-linux"
      "git"
      "openssh"
      "qemu-utils"
    ] package
    // {
      stdenv.hostPlatform.system = "x86_64-linux";
      runtimeShell = "/nix/store/00000000000000000000000000000000-bash/bin/sh";
      path = "/nixpkgs";
      callPackage = _: _: package "microvm-command";
      writeText = name: _: package name;
      writeShellScriptBin = script;
      runCommand =
        name: _: text:
        script name text;
    };
  nixosSystem = import ../standin/nixpkgs/nixos.nix {
    inherit lib;
    pkgsFor = _: pkgs;
  };
  ferry.packages.x86_64-linux.ferry = package "ferry";
  host = import ../modules/host.nix { inherit ferry; };
  program = "${package "ferry"}/bin/ferry";

  system =
    modules:
    nixosSystem {
      system = "x86_64-linux";
      modules = [ host ] ++ modules;
    };
  beside = modules: (system ([ microvmHost ] ++ modules)).config;
  # of is a host's configuration with these settings of ferry.host.
  of =
    settings:
    beside [
      {
        ferry.host = {
          enable = true;
        }
        // settings;
      }
    ];
  failed =
    config: map (a: a.message) (builtins.filter (a: !a.assertion) config.assertions);
  update =
    settings:
    of {
      timers.update = {
        enable = true;
        onCalendar = [ "daily" ];
      }
      // settings;
    };
  file = config: builtins.fromJSON config.environment.etc."ferry/timers.json".text;

  same = name: got: want: {
    inherit name got want;
    ok = (builtins.tryEval (builtins.deepSeq got (got == want))).value;
  };
  says = name: text: config: {
    inherit name;
    got = failed config;
    ok =
      builtins.any (lib.hasInfix text) (failed config)
      && !(builtins.tryEval (builtins.seq config.system.build.toplevel.outPath true)).success;
  };
  fails = name: v: {
    inherit name;
    ok = !(builtins.tryEval (builtins.deepSeq v v)).success;
  };
  has = name: xs: all: {
    inherit name;
    got = lib.subtractLists all xs;
    ok = lib.subtractLists all xs == [ ];
  };

  plain = of { };
  off = beside [ { } ];
  protected = of { protectStateDir = true; };
  services = protected.systemd.services;

  runner = package "runner" // {
    supportsNotifySocket = false;
    registerWithMachined = false;
  };
  guest = {
    microvm = {
      declaredRunner = runner;
      shares = [ ];
    };
    system.build.toplevel = package "toplevel";
  };
  declared = flake: beside [
    {
      ferry.host = {
        enable = true;
        protectStateDir = true;
      };
      microvm.vms.web = {
        flake = {
          outPath = "/nix/store/00000000000000000000000000000000-source";
          nixosConfigurations.web.config = guest;
        };
      }
      // flake;
    }
  ];

  # A unit of ferry's, as `ferry host setup` brings it: the values of its sections.
  unitFile =
    name:
    let
      text = builtins.readFile (../../internal/host/units + "/${name}");
      joined = builtins.replaceStrings [ "\\\n" ] [ " " ] text;
      pairs = builtins.filter (m: m != null) (
        map (builtins.match "([A-Za-z]+)=(.*)") (lib.splitString "\n" joined)
      );
    in
    builtins.listToAttrs (
      map (m: lib.nameValuePair (builtins.elemAt m 0) (builtins.elemAt m 1)) pairs
    );
  shown =
    v:
    if v == true then
      "yes"
    else if v == false then
      "no"
    else
      toString v;
in
[
  # Without it, nothing.
  (same "off, it adds no unit" (builtins.filter (lib.hasInfix "ferry") (
    builtins.attrNames off.systemd.units
  )) [ ])
  (same "and no program" (builtins.any (p: p.name == "ferry") off.environment.systemPackages) false)

  # What every host gets.
  (same "a host needs no more than enable" (failed plain) [ ])
  (same "it has ferry" (builtins.any (p: p.name == "ferry") plain.environment.systemPackages) true)
  (same "microvm stays microvm.nix's" (builtins.any (
    p: p.name == "ferry-microvm-command"
  ) plain.environment.systemPackages) false)
  (same "or becomes ferry's, before the other in the profile"
    (map (p: p.meta.priority) (
      builtins.filter (
        p: p.name == "ferry-microvm-command"
      ) (of { microvmCommand = true; }).environment.systemPackages
    ))
    [ (-10) ]
  )
  (same "interrupted deployments are settled at boot"
    plain.systemd.services.ferry-settle.serviceConfig.ExecStart
    "${program} host settle --boot"
  )
  (has "before VMs start" [ "microvms.target" ] plain.systemd.services.ferry-settle.before)
  {
    name = "and every unit of a VM waits for that";
    ok =
      lib.all (u: builtins.elem "ferry-settle.service" plain.systemd.services.${u}.after)
        [
          "microvm@"
          "microvm-set-booted@"
          "microvm-tap-interfaces@"
          "microvm-macvtap-interfaces@"
          "microvm-pci-devices@"
          "microvm-virtiofsd@"
        ];
  }
  (same "as on hosts that ferry sets up" (builtins.intersectAttrs
    {
      Type = 1;
      TimeoutStartSec = 1;
    }
    (builtins.mapAttrs (_: shown) plain.systemd.services.ferry-settle.serviceConfig)
  ) (builtins.intersectAttrs { Type = 1; TimeoutStartSec = 1; } (unitFile "ferry-settle.service")))
  (same "with the state directory that the host has"
    (beside [
      {
        ferry.host.enable = true;
        microvm.stateDir = "/srv/vms";
      }
    ]).systemd.services.ferry-settle.unitConfig.RequiresMountsFor
    "/var/lib/ferry /srv/vms /nix"
  )
  (same "its notes are root's alone"
    plain.systemd.tmpfiles.settings."10-ferry"."/var/lib/ferry".d.mode
    "0700"
  )
  (same "no settings without a timer" (plain.environment.etc ? "ferry/timers.json") false)
  (same "another ferry"
    (of { package = package "mine"; }).systemd.services.ferry-settle.serviceConfig.ExecStart
    "${package "mine"}/bin/ferry host settle --boot"
  )

  # Bad input.
  (says "without microvm.nix's module, it says so" "import microvm.nixosModules.host" (
    system [ { ferry.host.enable = true; } ]
  ).config)
  (says "so does one that is off" "microvm.host.enable is false" (beside [
    {
      ferry.host.enable = true;
      microvm.host.enable = false;
    }
  ]))
  (fails "an unknown option" (of { timer = { }; }).ferry.host.enable)
  (fails "a number for a word" (update { hydra = 1; }).ferry.host.timers.update.hydra)
  (fails "a restart policy that there isn't" (update { restart = "sometimes"; }).ferry.host.timers.update.restart)
  (fails "no calendar" (of {
    timers.update = {
      enable = true;
      fromFlake = true;
    };
  }).systemd.timers.ferry-update.timerConfig.OnCalendar)
  (fails "an empty one" (update { onCalendar = [ ]; }).systemd.timers.ferry-update.timerConfig.OnCalendar)
  (fails "a calendar with a specifier" (update { onCalendar = [ "%i" ]; }).ferry.host.timers.update.onCalendar)
  (fails "a path of Nix for a secret" (update { netrc = ./host.nix; }).ferry.host.timers.update.netrc)
  (fails "a name of a VM with a slash" (update { vms = [ "a/b" ]; }).ferry.host.timers.update.vms)
  (fails "less than no delay" (update { randomizedDelaySec = -1; }).ferry.host.timers.update.randomizedDelaySec)
  (says "a timer without a source" "needs one source" (update { }))
  (says "with two" "one only" (update {
    fromFlake = true;
    hydra = "https://h/jobset/a/b";
  }))
  (says "with a password in its address" "netrc" (update { hydra = "https://me:secret@h/jobset/a/b"; }))
  (says "a secret in the store" "Name a file outside" (update {
    hydra = "https://h/jobset/a/b";
    netrc = "/nix/store/00000000000000000000000000000000-netrc";
  }))
  (says "over http" "allowHttp" (update { hydra = "http://h/jobset/a/b"; }))
  (same "http that is meant" (failed (update {
    hydra = "http://h/jobset/a/b";
    allowHttp = true;
  })) [ ])
  (says "anyFlake without Hydra" "anyFlake" (update {
    fromFlake = true;
    anyFlake = true;
  }))
  (says "a target of another VM" "is not one of `vms`" (update {
    fromFlake = true;
    vms = [ "web" ];
    targets.db.address = "db";
  }))
  (says "a target that is this machine" "never `local`" (update {
    fromFlake = true;
    targets.web.address = "local";
  }))
  (says "no repository" "has no `repository`" (of {
    timers.flakeUpdate = {
      enable = true;
      onCalendar = [ "weekly" ];
    };
  }))
  (fails "two timers of one name"
    (beside [
      {
        ferry.host = {
          enable = true;
          timers.update = {
            enable = true;
            onCalendar = [ "daily" ];
            fromFlake = true;
          };
        };
        systemd.services.ferry-update.serviceConfig.ExecStart = "/bin/mine";
      }
    ]).systemd.units."ferry-update.service".text
  )
  (says "two settings files" "is defined elsewhere" (beside [
    {
      ferry.host = {
        enable = true;
        timers.update = {
          enable = true;
          onCalendar = [ "daily" ];
          fromFlake = true;
        };
      };
      environment.etc."ferry/timers.json".text = "{}";
    }
  ]))

  # Timers.
  (same "all of a timer's settings"
    (file (update {
      hydra = "https://h/jobset/a/b";
      anyFlake = true;
      allowRedirect = [ "https://cdn" ];
      allowOlder = true;
      netrc = "/run/netrc";
      cache = "https://cache";
      vms = [
        "web"
        "db.example"
      ];
      targets.web = {
        address = "admin@web";
        sudo = true;
      };
      targets."db.example".address = "db";
      restart = "never";
      noRollback = true;
    }))
    {
      update = {
        hydra = "https://h/jobset/a/b";
        anyFlake = true;
        allowRedirect = [ "https://cdn" ];
        allowOlder = true;
        netrc = "/run/netrc";
        cache = "https://cache";
        vms = [
          "web"
          "db.example"
        ];
        target = [
          "db.example=db"
          "web=admin@web"
        ];
        targetSudo = [ "web" ];
        restart = "never";
        noRollback = true;
      };
    }
  )
  (same "nothing else than what was said" (file (update { fromFlake = true; })) { update.fromFlake = true; })
  (same "both timers in one file"
    (file (of {
      timers.update = {
        enable = true;
        onCalendar = [ "daily" ];
        from = "/srv/runners.json";
      };
      timers.flakeUpdate = {
        enable = true;
        onCalendar = [ "weekly" ];
        repository = "/srv/infra.git";
        branch = "next";
        push = "origin";
        inputs = [ "nixpkgs" ];
      };
    }))
    {
      update.from = "/srv/runners.json";
      flakeUpdate = {
        repository = "/srv/infra.git";
        branch = "next";
        push = "origin";
        inputs = [ "nixpkgs" ];
      };
    }
  )
  (same "when it runs"
    (update {
      fromFlake = true;
      onCalendar = [
        "daily"
        "Mon 03:00"
      ];
      randomizedDelaySec = 60;
    }).systemd.timers.ferry-update.timerConfig
    {
      OnCalendar = [
        "daily"
        "Mon 03:00"
      ];
      RandomizedDelaySec = 60;
      AccuracySec = "1s";
      Persistent = true;
    }
  )
  (same "what it runs"
    (update { fromFlake = true; }).systemd.services.ferry-update.serviceConfig.ExecStart
    "${program} host timer run update"
  )
  (same "a rebuild of the host ends no update"
    (update { fromFlake = true; }).systemd.services.ferry-update.restartIfChanged
    false
  )

  # The start gate.
  (same "no gate" (plain.systemd.services ? "microvm-start-gate@") false)
  (has "a VM waits at it" [ "microvm-start-gate@%i.service" ]
    (of { startGate.enable = true; }).systemd.services."microvm@".after
  )
  (same "how many start at once"
    (of {
      startGate = {
        enable = true;
        startsAtOnce = 4;
        bootSeconds = 9;
      };
    }).systemd.services."microvm-start-gate@".environment
    {
      STARTS_AT_ONCE = "4";
      BOOT_SECONDS = "9";
    }
  )
  (
    let
      gate = (of { startGate.enable = true; }).systemd.services."microvm-start-gate@".serviceConfig;
      ours = builtins.removeAttrs (unitFile "microvm-start-gate@.service") [
        "ExecStart"
        "Environment"
        "After"
        "Before"
        "PartOf"
        "Description"
        "StartLimitIntervalSec"
      ];
    in
    same "restricted as on hosts that ferry sets up" (builtins.mapAttrs (_: shown) gate) ours
  )

  # The state directory.
  (same "as microvm.nix has it, by default"
    plain.systemd.tmpfiles.settings."10-microvm"."/var/lib/microvms".d.user
    "microvm"
  )
  (same "root's, where it is protected"
    (builtins.intersectAttrs {
      user = 1;
      group = 1;
      mode = 1;
    } protected.systemd.tmpfiles.settings."10-microvm"."/var/lib/microvms".d)
    {
      user = "root";
      group = "root";
      mode = "0755";
    }
  )
  (same "taken over before VMs start"
    [
      services.ferry-protect-state-dir.serviceConfig.ExecStart
      (builtins.elem "microvms.target" services.ferry-protect-state-dir.before)
    ]
    [
      "${program} host protect"
      true
    ]
  )
  (same "given back where it is off"
    [
      plain.systemd.services.ferry-unprotect-state-dir.serviceConfig.ExecStart
      plain.systemd.services.ferry-unprotect-state-dir.unitConfig.ConditionPathExists
      (services ? ferry-unprotect-state-dir)
    ]
    [
      "${program} host protect --undo"
      "/var/lib/ferry/protected.json"
      false
    ]
  )
  (same "`booted` is made by root"
    [
      services."microvm-set-booted@".serviceConfig.User
      plain.systemd.services."microvm-set-booted@".serviceConfig.User
    ]
    [
      "root"
      "microvm"
    ]
  )
  {
    name = "by a script that looks at `current` first";
    ok =
      lib.hasInfix "not to root: not starting it" services."microvm-set-booted@".script
      && !lib.hasInfix "rm -f booted" services."microvm-set-booted@".script;
  }
  {
    name = "and nothing of a runner is run as root without that";
    ok =
      lib.all
        (u: builtins.elem "microvm-set-booted@%i.service" services.${u}.requires
          && builtins.elem "microvm-set-booted@%i.service" services.${u}.after)
        [
          "microvm-tap-interfaces@"
          "microvm-macvtap-interfaces@"
          "microvm-pci-devices@"
          "microvm-virtiofsd@"
        ];
  }
  (same "its scripts are those of `booted`, that root has made"
    [
      services."microvm-tap-interfaces@".serviceConfig.ExecStart
      (lib.hasInfix "was not made by root" services."microvm-tap-interfaces@".serviceConfig.ExecStartPre)
      services."microvm-pci-devices@".serviceConfig.ExecStart
      services."microvm@".serviceConfig.ExecStart
    ]
    [
      "/var/lib/microvms/%i/booted/bin/tap-up"
      true
      "/var/lib/microvms/%i/booted/bin/pci-setup"
      "/var/lib/microvms/%i/booted/bin/microvm-run"
    ]
  )
  (same "virtiofsd runs in a place of its own"
    [
      services."microvm-virtiofsd@".serviceConfig.ExecStart
      services."microvm-virtiofsd@".serviceConfig.WorkingDirectory
      services."microvm-virtiofsd@".serviceConfig.RuntimeDirectory
    ]
    [
      "${program} host virtiofsd %i"
      "/"
      "microvm-virtiofsd/%i"
    ]
  )
  {
    name = "the hypervisor stays user microvm, its scripts as root leave the VM's directory";
    ok =
      services."microvm@".serviceConfig.User == "microvm"
      && lib.all (lib.hasInfix "cd / ||") (
        lib.toList services."microvm@".serviceConfig.ExecStartPost
        ++ lib.toList services."microvm@".serviceConfig.ExecStopPost
      );
  }
  (
    let
      install = (declared { }).systemd.services.install-microvm-web.script;
    in
    {
      name = "a VM of the host's own configuration is installed without giving it away";
      got = install;
      ok =
        !lib.hasInfix "chown -h microvm" install
        && lib.hasInfix "chown root:kvm" install
        && lib.hasInfix "ln -s ${runner} \"$link\"" install
        && lib.hasInfix "mv -fT \"$file\" flake" install;
    }
  )
  {
    name = "its unit's condition stays microvm.nix's";
    ok =
      (declared { updateFlake = "github:a/b"; }).systemd.services.install-microvm-web.unitConfig.ConditionPathExists
      == "!/var/lib/microvms/web";
  }
  (says "in another place it is refused" "works with microvm.stateDir" (beside [
    {
      ferry.host = {
        enable = true;
        protectStateDir = true;
      };
      microvm.stateDir = "/srv/vms";
    }
  ]))
  (same "a user's own word counts"
    (beside [
      {
        ferry.host = {
          enable = true;
          protectStateDir = true;
        };
        systemd.services."microvm-virtiofsd@".serviceConfig.ExecStart = lib.mkOverride 40 "/mine";
      }
    ]).systemd.services."microvm-virtiofsd@".serviceConfig.ExecStart
    "/mine"
  )
]
