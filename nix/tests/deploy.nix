# What the module for VMs and lib.apps do: a list of {name, ok, got, want}. With the
# stand-ins for nixpkgs and microvm.nix; `microvm` and `lib` may be the genuine ones.
{
  lib ? import ../standin/nixpkgs/lib,
  microvm ? ../standin/microvm/microvm.nix,
  # Whatever the genuine ones need besides.
  more ? { },
  pkgsFor ? system: import ../standin/nixpkgs { inherit system; },
  system ? "x86_64-linux",
}:
let
  nixosSystem = import ../standin/nixpkgs/nixos.nix { inherit lib pkgsFor; };

  # The flake.
  ferry = {
    # As later ones of nixpkgs, without x86_64-darwin.
    inputs.nixpkgs.legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" "aarch64-darwin" ] pkgsFor;
    packages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" "aarch64-darwin" ] (system: {
      ferry = (pkgsFor system).writeShellScriptBin "ferry" "exit 0";
    });
  };
  module = import ../modules/deploy.nix { inherit ferry; };

  vm =
    modules:
    nixosSystem {
      inherit system;
      modules = modules ++ [ more ];
    };
  web = {
    networking.hostName = "web";
    services.openssh.enable = true;
    microvm.shares = [
      {
        tag = "ro-store";
        source = "/nix/store";
        mountPoint = "/nix/.ro-store";
        proto = "9p";
      }
    ];
  };
  of =
    extra:
    (vm (
      [
        microvm
        module
        web
      ]
      ++ extra
    )).config;
  deploy = extra: (of extra).microvm.deploy;

  same = name: got: want: {
    inherit name got want;
    ok = (builtins.tryEval (builtins.deepSeq got (got == want))).value;
  };
  holds = name: got: same name got true;
  fails = name: v: {
    inherit name;
    ok = !(builtins.tryEval (builtins.deepSeq v true)).success;
    got = "a value";
    want = "an error";
  };

  # The text of a wrapper, as the stand-in's packages have it.
  text = d: builtins.unsafeDiscardStringContext d.text;
  fileOf =
    line: builtins.head (builtins.match ".*--evaluation ([^ ]+) .*" (builtins.replaceStrings [ "\n" ] [ " " ] line));
  # What the wrapper gives to ferry.
  read = file: builtins.fromJSON (builtins.unsafeDiscardStringContext (builtins.readFile file));
  given = d: read (fileOf (text d));
  # Whether ferry has the file in its environment, too.
  kept =
    script:
    builtins.match ".*FERRY_KEEPS=${fileOf script} (exec )?.*--evaluation .*" (
      builtins.replaceStrings [ "\n" ] [ " " ] script
    ) != null;
  drv = d: builtins.unsafeDiscardStringContext d.drvPath;

  user = (pkgsFor system).writeShellScriptBin "mine" "exit 0";

  everything = {
    ferry.deploy = {
      name = "web-1";
      revision = "abc";
      lastModified = 1767225600;
      settings = {
        target = "root@web.example.com";
        restart = "if-needed";
        health.http = [ "http://10.0.0.5/healthz" ];
        health.timeout = 60;
      };
    };
  };

  # A flake with a VM that can't be evaluated, one that is not a VM, and one of which
  # there is no configuration.
  self = {
    outPath = "/nix/store/00000000000000000000000000000000-source";
    sourceInfo.outPath = "/nix/store/00000000000000000000000000000000-source";
    narHash = "sha256-AAAA";
    lastModified = 1767225600;
    rev = "0123456789";
    nixosConfigurations = {
      web = vm [
        microvm
        web
      ];
      broken = throw "this configuration was evaluated";
      homeless = self.nixosConfigurations.web;
      odd = self.nixosConfigurations.web;
      plain.config.networking.hostName = "plain";
    };
    ferry = {
      hosts.host1.address = "root@host1";
      hosts.host2.address = "root@host2";
      vms = {
        web = {
          host = "host1";
          target = "root@web";
        };
        broken.host = "host2";
        homeless = { };
        odd.host = 1;
        plain.host = "host2";
        missing.host = "host2";
      };
    };
  };
  apps = (import ../lib.nix { inherit ferry; }).apps;
  mine = apps { inherit self; };
  # What an app gives to ferry, by the derivation that makes its program.
  lineOf =
    app: builtins.readFile (builtins.head (builtins.attrNames (builtins.getContext app.program)));
  givenTo = app: read (fileOf (lineOf app));
  programOf = app: builtins.unsafeDiscardStringContext app.program;
in
[
  (same "the programs have microvm.nix's names" (map (d: d.meta.mainProgram) [
    (deploy [ ]).rebuild
    (deploy [ ]).installOnHost
    (deploy [ ]).sshSwitch
  ]) [
    "microvm-rebuild"
    "microvm-install-on-host"
    "microvm-switch"
  ])
  (same "each runs its command of ferry" (map (d: builtins.match ".*exec /nix/store/[^/]*-ferry/bin/ferry ([a-z]+ '?web'?) --evaluation .*" (text d)) [
    (deploy [ ]).rebuild
    (deploy [ ]).installOnHost
    (deploy [ ]).sshSwitch
  ]) (map (verb: [ "${verb} ${lib.escapeShellArg "web"}" ]) [
    "rebuild"
    "install"
    "switch"
  ]))
  (same "a name with dots is quoted where the usage is told"
    (lib.hasInfix ".#nixosConfigurations.\"web.1\".config.microvm.deploy.rebuild" (
      text (deploy [ { ferry.deploy.name = "web.1"; } ]).rebuild
    ))
    true
  )
  (same "without OpenSSH there is no sshSwitch" (deploy [ { services.openssh.enable = lib.mkForce false; } ]).sshSwitch null)
  (same "without switches there is no sshSwitch" (deploy [ { system.switch.enable = lib.mkForce false; } ]).sshSwitch null)
  (same "without the host's store there is no sshSwitch" (deploy [ { microvm.shares = lib.mkForce [ ]; } ]).sshSwitch null)
  (holds "rebuild is there all the same" ((deploy [ { microvm.shares = lib.mkForce [ ]; } ]).rebuild != null))
  (same "a user's mkForce wins" (drv (deploy [ { microvm.deploy.rebuild = lib.mkForce user; } ]).rebuild) (drv user))
  (same "a user's mkForce null wins" (deploy [ { microvm.deploy.rebuild = lib.mkForce null; } ]).rebuild null)
  (same "a plain definition loses, as the module's own does" (deploy [ { microvm.deploy.rebuild = user; } ]).rebuild.meta.mainProgram "microvm-rebuild")

  (same "the derivations are those of this evaluation" (let
    vm = (given (deploy [ ]).rebuild).vms.web;
  in
  {
    runner = vm.record.runner.drv;
    system = vm.record.system.drv;
    inherit (vm.record) name hostName hypervisor;
  }) (let
    c = of [ ];
  in
  {
    runner = drv c.microvm.declaredRunner;
    system = drv c.system.build.toplevel;
    name = "web";
    hostName = "web";
    inherit (c.microvm) hypervisor;
  }))
  (same "the file keeps the derivations, and none of their outputs" (builtins.getContext (builtins.readFile (fileOf (deploy [ ]).rebuild.text))) (let
    c = of [ ];
  in
  {
    ${drv c.microvm.declaredRunner}.path = true;
    ${drv c.system.build.toplevel}.path = true;
  }))
  (same "no garbage collection takes them before ferry has ended" (map kept [
    (text (deploy [ ]).rebuild)
    (text (deploy [ ]).installOnHost)
    (text (deploy [ ]).sshSwitch)
    (lineOf mine.x86_64-linux.rebuild-web)
  ]) [
    true
    true
    true
    true
  ])
  (same "the options of the module are given to ferry" (let
    g = given (deploy [ everything ]).rebuild;
  in
  {
    inherit (g) version revision lastModified ferry;
    names = builtins.attrNames g.vms;
  }) {
    version = 1;
    revision = "abc";
    lastModified = 1767225600;
    names = [ "web-1" ];
    ferry.vms.web-1 = {
      target = "root@web.example.com";
      restart = "if-needed";
      health = {
        http = [ "http://10.0.0.5/healthz" ];
        timeout = 60;
      };
    };
  })
  (same "without options there is nothing but the VM" (builtins.attrNames (given (deploy [ ]).rebuild)) [
    "ferry"
    "version"
    "vms"
  ])
  (fails "an unknown setting" (deploy [ { ferry.deploy.settings.targets = "x"; } ]).rebuild.text)
  (fails "a setting of another type" (deploy [ { ferry.deploy.settings.health.timeout = "60"; } ]).rebuild.text)
  (fails "a bad name" (deploy [ { ferry.deploy.name = "../web"; } ]).rebuild.text)
  (fails "no name" (deploy [ { networking.hostName = lib.mkForce ""; } ]).rebuild.text)
  (fails "without microvm.nix" (vm [ module ]).config.networking.hostName)
  (fails "a VM that can't be evaluated" (deploy [ { microvm.declaredRunner = lib.mkForce (throw "broken"); } ]).rebuild.text)
  (same "the value is for the guest's platform" (deploy [ { nixpkgs.hostPlatform = lib.mkForce "aarch64-linux"; } ]).rebuild.system "aarch64-linux")
  (fails "a platform without ferry" (deploy [ { nixpkgs.hostPlatform = lib.mkForce "riscv64-linux"; } ]).rebuild.text)

  (same "apps for each VM of ferry.vms, by their names alone" (builtins.attrNames mine.x86_64-linux) [
    "deploy"
    "microvm-update-broken"
    "microvm-update-homeless"
    "microvm-update-missing"
    "microvm-update-odd"
    "microvm-update-plain"
    "microvm-update-web"
    "rebuild-broken"
    "rebuild-homeless"
    "rebuild-missing"
    "rebuild-odd"
    "rebuild-plain"
    "rebuild-web"
  ])
  (same "for the platforms that nixpkgs has" (builtins.attrNames mine) [
    "aarch64-darwin"
    "aarch64-linux"
    "x86_64-linux"
  ])
  (same "for four of them at most" (builtins.attrNames (apps {
    inherit self;
    nixpkgs.legacyPackages = lib.genAttrs [ "riscv64-linux" "x86_64-linux" "x86_64-darwin" ] (_: throw "a package set was evaluated");
  })) [
    "x86_64-darwin"
    "x86_64-linux"
  ])
  (same "or those named" (builtins.attrNames (apps {
    inherit self;
    systems = [ "aarch64-darwin" ];
  })) [ "aarch64-darwin" ])
  (same "an app whose VM can be evaluated is had beside one that can't" (builtins.match "/nix/store/[^/]+-microvm-update-web/bin/microvm-update-web" (programOf mine.x86_64-linux.microvm-update-web)) [ ])
  (same "for another platform too" (builtins.match "/nix/store/[^/]+-rebuild-web/bin/rebuild-web" (programOf mine.aarch64-darwin.rebuild-web)) [ ])
  (fails "a VM that can't be evaluated has no app to run" mine.x86_64-linux.rebuild-broken.program)
  (fails "nor one without a configuration" mine.x86_64-linux.rebuild-missing.program)
  (fails "nor what is not a MicroVM" mine.x86_64-linux.rebuild-plain.program)
  (same "the evaluation is of one VM and its host, and has the flake's revision" (removeAttrs (givenTo mine.x86_64-linux.rebuild-web) [ "vms" ]) {
    version = 1;
    revision = "0123456789";
    lastModified = 1767225600;
    ferry = {
      vms.web = self.ferry.vms.web;
      hosts.host1.address = "root@host1";
    };
  })
  (same "a VM without a host needs no other's" (givenTo mine.x86_64-linux.rebuild-homeless).ferry {
    hosts = { };
    vms.homeless = { };
  })
  (holds "no name of a folder ends the line that deploy runs" (
    builtins.match ".*/deploy --flake 'path:[^']*[?]dir=it%27s%20%23%201&[^']*' .*" (
      builtins.replaceStrings [ "/bin/ferry rebuild" "\n" ] [ "/deploy" " " ] (
        builtins.readFile (
          builtins.head (
            builtins.attrNames (
              builtins.getContext
                (apps {
                  self = self // {
                    outPath = "${self.outPath}/it's # 1";
                  };
                }).x86_64-linux.deploy.program
            )
          )
        )
      )
    ) != null
  ))
  (same "the flake's address is noted where it is given" (givenTo (apps {
    inherit self;
    url = "github:me/infra";
  }).x86_64-linux.rebuild-web).flake "github:me/infra")
  (same "deploy evaluates nothing before it runs" (builtins.match "/nix/store/[^/]+-deploy/bin/deploy" (programOf mine.x86_64-linux.deploy)) [ ])
  (same "what is wrong in the output is left to ferry to say" (givenTo mine.x86_64-linux.rebuild-odd).ferry.vms.odd.host 1)
  (same "null stands for no VMs" (builtins.attrNames (apps {
    self = self // {
      ferry.vms = null;
    };
  }).x86_64-linux) [ "deploy" ])
  (same "a flake without ferry.vms has deploy alone" (builtins.attrNames (apps { self = removeAttrs self [ "ferry" ]; }).x86_64-linux) [ "deploy" ])
]
