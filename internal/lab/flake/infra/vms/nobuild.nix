{
  networking.hostName = "nobuild";
  microvm.hypervisor = "process";
  lab.buildFails = true;
}
