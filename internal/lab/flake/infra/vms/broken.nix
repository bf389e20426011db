{
  networking.hostName = "broken";
  microvm.hypervisor = "process";
  services.page.enable = true;
  services.page.text = throw "the option `services.page.text' has no sensible value";
}
