package libvirt

// Parsed reads the XML of a domain and says whether a model can be made of it.
func Parsed(text string) error {
	d, err := parse(text)
	if err != nil {
		return err
	}
	(&placeOf{host: "h", pool: "p"}).model([]*seen{{domain: d, state: "running"}})
	return nil
}

// Advised is advised.
var Advised = advised
