package query

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/flow"
)

// entityDictionary has, by id, the kind, key and name that each entity has now. It is read as a table too: it is in
// memory, so that a name becomes ids in about a millisecond, once a query.
const entityDictionary = "entity_now"

// Name is a name in a filter that has to be known for the answer to mean anything. The caller of [Build] asks for what
// is known by [KnownNames], refuses the request if something is [Missing], and minds whether a name is that of [Several].
type Name struct {
	Field string      // of the filter
	Kinds []flow.Kind // one of which the entity has to be
	Text  string      // name, key or UUID
	Pos   int         // in the filter, in bytes from 1
}

// KnownEntity is a row of the answer to [KnownNames].
type KnownEntity struct{ Kind, Name, Key string }

// namesIn returns the names in the filter.
func namesIn(e Expr) []Name {
	var all []Name
	compares(e, func(c *Compare) {
		for i, v := range c.Values {
			if v.Kind == ByName {
				all = append(all, Name{c.Field.Name, c.Field.Kinds, v.Text, c.Pos[i]})
			}
		}
	})
	return all
}

// KnownNames returns the question which of the names are known. Its answer has the columns kind, name, key.
func KnownNames(names []Name) Statement {
	p := &params{}
	var kinds []flow.Kind
	var texts []string
	for _, n := range names {
		for _, k := range n.Kinds {
			if !slices.Contains(kinds, k) {
				kinds = append(kinds, k)
			}
		}
		if !slices.Contains(texts, n.Text) {
			texts = append(texts, n.Text)
		}
	}
	return statement("SELECT DISTINCT kind, name, key\nFROM "+entityDictionary+"\nWHERE "+named(p, kinds, texts)+"\nLIMIT 10000", p)
}

// Missing returns the names that none of the known entities goes by.
func Missing(names []Name, known []KnownEntity) []Name {
	return slices.DeleteFunc(slices.Clone(names), func(n Name) bool {
		return slices.ContainsFunc(known, n.of)
	})
}

// Several reports whether one of the names is that of more than one of the known entities, as of an address group and a VM group. What is in two
// of them counts twice in tables that hold a flow once for each group: the caller of [Build] builds again, of [Single] tables.
func Several(names []Name, known []KnownEntity) bool {
	return slices.ContainsFunc(names, func(n Name) bool {
		first := slices.IndexFunc(known, n.of)
		return first >= 0 && slices.ContainsFunc(known[first+1:], n.of)
	})
}

// of reports whether an entity goes by the name.
func (n Name) of(k KnownEntity) bool {
	return slices.Contains(n.Kinds, flow.Kind(k.Kind)) && (k.Name == n.Text || k.Key == canonicalKey(n.Text))
}

// SimilarNames returns the question which names are most like n. Its answer has the column name, best first.
func SimilarNames(n Name) Statement {
	p := &params{}
	text := p.bind("String", strings.ToLower(n.Text))
	distance := "damerauLevenshteinDistance(lower(name), " + text + ")"
	near := strconv.Itoa(1 + len(n.Text)/3)
	return statement("SELECT name\nFROM "+entityDictionary+"\nWHERE "+kindIs(n.Kinds)+
		" AND length(name) <= 256 AND "+distance+" <= "+near+
		"\nGROUP BY name\nORDER BY "+distance+", name\nLIMIT 3", p)
}

// Unknown is the error for a name that is missing; similar are the names of the answer to [SimilarNames]. Of a built-in rule, which is no
// entity, it tells the number.
func (n Name) Unknown(similar []string) error {
	kind := strings.ReplaceAll(string(n.Kinds[0]), "_", " ")
	if len(n.Kinds) > 1 {
		kind = n.Field
	}
	hint := ""
	if len(similar) > 0 {
		hint = "did you mean " + strings.Join(similar, " or ") + "?"
	}
	if slices.Contains(n.Kinds, flow.KindRule) {
		for _, r := range flow.SystemRules {
			if strings.EqualFold(r.Name, n.Text) {
				hint = "it is a built-in rule, which filters know by its number: rule_instance = " + strconv.FormatUint(uint64(r.Instance), 10)
			}
		}
	}
	return wrong(n.Pos, "unknown "+kind+" "+strconv.Quote(n.Text), hint)
}

var uuid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// canonicalKey returns the key that the text would be: UUIDs are kept in lower case (see [flow.NewID]).
func canonicalKey(s string) string {
	if uuid.MatchString(s) {
		return strings.ToLower(s)
	}
	return s
}

// idsNamed returns the query for the ids of the entities of such kinds that go by one of the names or keys.
func idsNamed(p *params, column string, kinds []flow.Kind, names []string) string {
	return "SELECT " + column + " FROM " + entityDictionary + " WHERE " + named(p, kinds, names)
}

// idsLike returns the query for the ids of the entities of such kinds whose names match a pattern with * and ?,
// upper and lower case alike.
func idsLike(p *params, column string, kinds []flow.Kind, pattern string) string {
	like := strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`, "*", "%", "?", "_").Replace(pattern)
	return "SELECT " + column + " FROM " + entityDictionary + " WHERE " + kindIs(kinds) + " AND name ILIKE " + p.bind("String", like)
}

func named(p *params, kinds []flow.Kind, names []string) string {
	var bound, keys []string
	for _, n := range names {
		bound = append(bound, p.bind("String", n))
	}
	for _, n := range names {
		keys = append(keys, p.bind("String", canonicalKey(n)))
	}
	return kindIs(kinds) + " AND (" + oneOf("name", bound, nil) + " OR " + oneOf("key", keys, nil) + ")"
}

// kindIs returns the SQL of: the entity is of one of the kinds.
func kindIs(kinds []flow.Kind) string {
	var list []string
	for _, k := range kinds {
		list = append(list, "'"+string(k)+"'")
	}
	return oneOf("kind", list, nil)
}

// nameSQL returns the SQL of the name that an id has now, empty if none is known.
func nameSQL(id string) string {
	return "dictGetOrDefault('" + entityDictionary + "', 'name', " + id + ", '')"
}
