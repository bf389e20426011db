{
  networking.hostName = "thirdparty";
  microvm.hypervisor = "process";
  microvm.systemSymlink = false;
  microvm.registerClosure = false;
}
