{ ferry }: { }
