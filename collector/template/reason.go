package template

// Reason says why something that an exporter sent was dropped. Its String is the label of the metric.
type Reason uint8

// The reasons. None is no drop.
const (
	None            Reason = iota
	Truncated              // shorter than its own header says
	UnknownVersion         // neither NetFlow 5, 9 nor IPFIX
	BadLength              // a length or count that cannot be
	BadTemplate            // a template record that cannot be read, or describes empty records
	BadRecord              // a record of variable length that runs over the end of its set
	UnknownTemplate        // data whose template did not come in time
	UnknownSet             // a set id that RFC 7011 §3.3.2 reserves
	TooManyExporters
	TooManyDomains
	TooManyTemplates
	TooManyFields
	OutOfMemory // Config.MaxMemory is used up

	reasons // number of reasons
)

var reasonNames = [reasons]string{
	"none", "truncated", "unknown_version", "bad_length", "bad_template", "bad_record", "unknown_template", "unknown_set",
	"too_many_exporters", "too_many_domains", "too_many_templates", "too_many_fields", "out_of_memory",
}

// String returns the metric label.
func (r Reason) String() string {
	if r < reasons {
		return reasonNames[r]
	}
	return "unknown"
}

// HidesData reports whether there may be data behind a drop that could not be counted.
func (r Reason) HidesData() bool {
	return r == Truncated || r == BadLength || r == BadRecord || r == UnknownTemplate
}

// Reasons lists every reason but None, for metrics.
func Reasons() []Reason {
	list := make([]Reason, 0, reasons-1)
	for r := None + 1; r < reasons; r++ {
		list = append(list, r)
	}
	return list
}
