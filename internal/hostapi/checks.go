package hostapi

// Checks are what a VM must answer, asked from its host.
type Checks struct {
	TCP  []string `json:"tcp,omitempty"`  // host:port that must take a connection
	HTTP []string `json:"http,omitempty"` // URLs that must answer with a status below 400
}

// Empty reports whether there is nothing to ask.
func (c Checks) Empty() bool { return len(c.TCP) == 0 && len(c.HTTP) == 0 }
