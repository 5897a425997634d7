package estate

import (
	"fmt"
	"strings"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/nearest"
)

// directory finds the entities of a kind by what models call them. Entities are numbered in the order of the model;
// -1 is none.
type directory struct {
	noun    string
	entries []entry
	byUUID  map[string]int
	byKey   map[string]int // of a merged model, whose references are keys; else nil
	byName  map[string][]int
}

type entry struct {
	name string
	pool int
	id   flow.ID // 0 if the entity was refused
	key  string
}

func (c *compiler) newDirectory(noun string) directory {
	if c.m.Merged {
		return directory{noun: noun, byKey: map[string]int{}, byName: map[string][]int{}}
	}
	return directory{noun: noun, byUUID: map[string]int{}, byName: map[string][]int{}}
}

// add adds an entity, which is not found before identify says what came of it.
func (d *directory) add(name string, pool int) {
	d.entries = append(d.entries, entry{name: name, pool: pool})
}

// identify makes the entity added last known by its name and uuid. One that was refused, so that it has no id, is still
// known, lest every reference to it be reported as well, unless another has the name.
func (d *directory) identify(uuid string, id flow.ID, key string) {
	i := len(d.entries) - 1
	e := &d.entries[i]
	e.id, e.key = id, key
	if d.byKey != nil && id != 0 {
		d.byKey[key] = i
	}
	if id == 0 && len(d.byName[e.name]) > 0 {
		return
	}
	d.byName[e.name] = append(d.byName[e.name], i)
	if uuid != "" && d.byUUID != nil {
		d.byUUID[strings.ToLower(uuid)] = i
	}
}

func (d *directory) id(i int) flow.ID {
	if i < 0 {
		return 0
	}
	return d.entries[i].id
}

func (d *directory) key(i int) string {
	if i < 0 {
		return ""
	}
	return d.entries[i].key
}

func (d *directory) pool(i int) int { return d.entries[i].pool }

// lookup returns the entities that ref may mean: the one with that uuid, else those of that name in pool, else
// those of that name, else those that it means as "pool/name".
func (c *compiler) lookup(d *directory, ref string, pool int) []int {
	if c.m.Merged {
		if i, ok := d.byKey[ref]; ok {
			return []int{i}
		}
		return nil
	}
	if i, ok := d.byUUID[strings.ToLower(ref)]; ok {
		return []int{i}
	}
	found := d.byName[ref]
	if inPool := d.in(found, pool); len(found) > 1 && pool >= 0 && len(inPool) > 0 {
		found = inPool
	}
	for slash := 0; len(found) == 0; {
		next := strings.IndexByte(ref[slash:], '/')
		if next < 0 {
			break
		}
		slash += next + 1
		for _, p := range c.pools.byName[ref[:slash-1]] {
			found = append(found, d.in(d.byName[ref[slash:]], p)...)
		}
	}
	return found
}

// find returns the one entity that ref means. An empty ref is none. What is wrong is reported at path.
func (c *compiler) find(d *directory, path, ref string, pool int) int {
	if ref == "" {
		return -1
	}
	found := c.lookup(d, ref, pool)
	switch {
	case len(found) == 1:
		return found[0]
	case len(found) == 0:
		names := make([]string, len(d.entries))
		for i := range d.entries {
			names[i] = d.entries[i].name
		}
		c.refuse(path, "%q is no %s%s", ref, d.noun, c.meant(ref, names))
	default:
		c.refuse(path, "%q is the name of %d %ss: write it as pool/name or by uuid", ref, len(found), d.noun)
	}
	return -1
}

// in returns those of list that are in pool.
func (d *directory) in(list []int, pool int) []int {
	var found []int
	for _, i := range list {
		if d.entries[i].pool == pool {
			found = append(found, i)
		}
	}
	return found
}

// meant returns a suggestion for a name that is not among names; only for the first problems, since it compares with
// all of them.
func (c *compiler) meant(name string, names []string) string {
	const suggestions = 10
	if len(c.problems.List) >= suggestions {
		return ""
	}
	if word := nearest.Word(name, names); word != "" {
		return fmt.Sprintf("; did you mean %q?", word)
	}
	return ""
}
