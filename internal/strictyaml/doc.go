// Package strictyaml reads a YAML file into the structs of its sections and says everything that is wrong with it at
// once: unknown keys (with the nearest known one), duplicate keys, wrong types, values that a section refuses — each
// with file and line, key path, what was found and what is expected.
//
// A section is a plain struct. The tag yaml names the key, the tag doc is its sentence in the manual, the value that
// a field holds before [Decode] is its default:
//
//	type Config struct {
//		Addr       string        `yaml:"addr" doc:"host:port to bind."`
//		RecvBuffer bytesize.Size `yaml:"recv_buffer" doc:"SO_RCVBUF of each socket; 0 is the kernel's default."`
//		Timeout    time.Duration `yaml:"timeout" doc:"Longest wait for an answer."`
//		Listeners  []Listener    `yaml:"listeners" doc:"Sockets."`
//	}
//
// Some optional methods refine it. A SetDefaults method is called on each new element of a list or map, since such
// an element cannot be preset. A Validate method checks a value after it was filled, and only what is its own: those
// of its fields and elements are called by this package. An Allowed method of a type with UnmarshalText lists its
// values, a Form method says what they look like.
//
// The types of values: bool, integers, floats, string, [time.Duration] ("5s", also days and weeks), bytesize.Size,
// types with UnmarshalText (netip.Addr, netip.Prefix, [time.Time], enumerations), structs, pointers, slices, and maps whose keys
// are strings or have UnmarshalText. Any other type, and an exported field without a tag, is a programming error and
// panics. A list or map in the file replaces the default, a section is merged into it, a null leaves it as it is.
//
// YAML 1.2 as go.yaml.in/yaml/v3 reads it, less tags, merge keys and further documents. Aliases work; the work they
// cause is bounded, as are size and depth.
package strictyaml
