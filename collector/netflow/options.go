package netflow

import (
	"math"

	"github.com/weirhq/weir/collector/ie"
	"github.com/weirhq/weir/collector/template"
)

// read takes one field of an options record.
type read struct {
	into func(*option, []byte)
	place
}

// compileOptions returns what to read of the records of t.
func compileOptions(t *template.Template, places []place) []read {
	var reads []read
	for i, f := range t.Fields {
		if into, ok := optionFields[f.ID]; ok && f.Length > 0 {
			reads = append(reads, read{into, places[i]})
		}
	}
	return reads
}

// options reads the n records of a set of options data (RFC 3954 §6.2, RFC 7011 §3.4.2.2), which was counted: rates
// of sampling, names, and when the exporter was initialised. What an exporter says of itself beyond that is left to
// the Describer.
func (d *Decoder) options(m *message, p *plan, body []byte, n int) {
	parts := &d.run.parts
	parts.fit(&p.layout)
	d.rates = d.rates[:0]
	at := 0
	for range n {
		at, _ = p.layout.walk(body, at, parts.stretches, parts.variables)
		o := &d.option
		*o = option{}
		for i := range p.reads {
			e := parts.find(p.reads[i].place)
			p.reads[i].into(o, body[e.at:e.at+e.length])
		}
		switch r := o.samplingRate(); {
		case r.Rate > template.MaxRate:
			m.domain.Count.AbsurdRates.Add(1)
		case r.Rate != 0 && !m.domain.Sampling().Says(r):
			d.rates = append(d.rates, r)
		}
		o.names(m.domain)
	}
	d.option = option{} // which has parts of body
	m.domain.SetRates(d.rates)
}

// option is one options record.
type option struct {
	rate
	sampler, iface, application, vrf optional
	interfaceName, interfaceText     []byte
	applicationName, applicationText []byte
	vrfName                          []byte
	initTime                         uint64
}

type optional struct {
	value uint64
	given bool
}

// samplingRate returns the rate that the record states, if it is not 0. It may be more than template.MaxRate.
func (o *option) samplingRate() template.Rate {
	switch r := uint32(min(o.value(), math.MaxUint32)); {
	case o.sampler.given:
		return template.Rate{Scope: template.OfSampler, ID: o.sampler.value, Rate: r}
	case o.iface.given:
		return template.Rate{Scope: template.OfInterface, ID: uint64(uint32(o.iface.value)), Rate: r}
	default:
		return template.Rate{Scope: template.OfDomain, Rate: r}
	}
}

// names notes what else the record says.
func (o *option) names(d *template.Domain) {
	if o.iface.given && (len(o.interfaceName) > 0 || len(o.interfaceText) > 0) {
		d.SetInterface(uint32(o.iface.value), o.interfaceName, o.interfaceText)
	}
	if o.application.given && (len(o.applicationName) > 0 || len(o.applicationText) > 0) {
		d.SetApplication(o.application.value, o.applicationName, o.applicationText)
	}
	if o.vrf.given && len(o.vrfName) > 0 {
		d.SetVRF(uint32(o.vrf.value), o.vrfName)
	}
	if o.initTime != 0 {
		d.SetInitTime(int64(o.initTime))
	}
}

// into returns a reader of an integer field.
func into(field func(*option) *uint64) func(*option, []byte) {
	return func(o *option, b []byte) {
		if len(b) >= 1 && len(b) <= 8 {
			*field(o) = readUint(b, len(b))
		}
	}
}

// given returns a reader of an integer field that names what the record is about.
func given(field func(*option) *optional) func(*option, []byte) {
	return func(o *option, b []byte) {
		if len(b) >= 1 && len(b) <= 8 {
			*field(o) = optional{readUint(b, len(b)), true}
		}
	}
}

// named returns a reader of a text field.
func named(field func(*option) *[]byte) func(*option, []byte) {
	return func(o *option, b []byte) { *field(o) = b }
}

var (
	ofInterface = given(func(o *option) *optional { return &o.iface })
	ofSampler   = given(func(o *option) *optional { return &o.sampler })
	ofVRF       = given(func(o *option) *optional { return &o.vrf })
)

// optionFields says what is read from options records, as scope or not: exporters differ.
var optionFields = map[ie.ID]func(*option, []byte){
	{Enterprise: ie.Scope9, Number: ie.ScopeInterface}: ofInterface,
	ie.Of(10):  ofInterface,
	ie.Of(14):  ofInterface,
	ie.Of(252): ofInterface,
	ie.Of(48):  ofSampler,
	ie.Of(302): ofSampler,
	ie.Of(234): ofVRF,
	ie.Of(235): ofVRF,
	ie.Of(34):  into(func(o *option) *uint64 { return &o.interval }),
	ie.Of(50):  into(func(o *option) *uint64 { return &o.interval }),
	ie.Of(305): into(func(o *option) *uint64 { return &o.packetInterval }),
	ie.Of(306): func(o *option, b []byte) {
		if len(b) >= 1 && len(b) <= 8 {
			o.packetSpace, o.spaced = readUint(b, len(b)), true
		}
	},
	ie.Of(309): into(func(o *option) *uint64 { return &o.size }),
	ie.Of(310): into(func(o *option) *uint64 { return &o.population }),
	ie.Of(311): func(o *option, b []byte) { o.probability = readFloat(b, len(b)) },
	ie.Of(160): func(o *option, b []byte) {
		if len(b) == 8 {
			o.initTime = boundTime(readUint(b, 8))
		}
	},
	ie.Of(95): func(o *option, b []byte) {
		if len(b) >= 1 && len(b) <= maxApplication {
			o.application = optional{applicationID(b), true}
		}
	},
	ie.Of(82):  named(func(o *option) *[]byte { return &o.interfaceName }),
	ie.Of(83):  named(func(o *option) *[]byte { return &o.interfaceText }),
	ie.Of(96):  named(func(o *option) *[]byte { return &o.applicationName }),
	ie.Of(94):  named(func(o *option) *[]byte { return &o.applicationText }),
	ie.Of(236): named(func(o *option) *[]byte { return &o.vrfName }),
}
