{
  networking.hostName = "cron";
  services.openssh.enable = false;

  microvm.hypervisor = "process";
  microvm.mem = 256;
  microvm.vcpu = 1;
}
