{
  networking.hostName = "somebody-else";
  microvm.hypervisor = "process";
}
