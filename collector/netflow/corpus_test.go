package netflow_test

import (
	"cmp"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// corpusDir holds UDP payloads of real exporters, one a file. They are not part of the repository.
const corpusDir = "../../../shared/corpora/netflow"

// payload is one datagram of the corpora.
type payload struct {
	name string
	data []byte
}

// group is the datagrams of one vendor's case, templates first.
type group struct {
	name     string
	exporter netip.Addr // an address of its own
	payloads []payload
}

var caseSuffix = regexp.MustCompile(`_(tpl|opttpl|data).*`)

// corpora returns the groups, or skips the test where the corpora are not there (unless it must not).
func corpora(t testing.TB) []group {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(corpusDir, "*.dat"))
	if len(files) == 0 {
		if os.Getenv("CI_REQUIRE_SERVICES") == "1" {
			t.Fatalf("no corpora in %s, and CI_REQUIRE_SERVICES is 1", corpusDir)
		}
		t.Skipf("no corpora in %s", corpusDir)
	}
	byName := map[string]*group{}
	var groups []*group
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".dat")
		key := caseSuffix.ReplaceAllString(name, "")
		g := byName[key]
		if g == nil {
			g = &group{name: key, exporter: netip.AddrFrom4([4]byte{10, 0, 1, byte(len(groups))})}
			byName[key], groups = g, append(groups, g)
		}
		g.payloads = append(g.payloads, payload{name, data})
	}
	list := make([]group, len(groups))
	for i, g := range groups {
		slices.SortFunc(g.payloads, func(a, b payload) int {
			return cmp.Or(cmp.Compare(rank(a.name), rank(b.name)), cmp.Compare(a.name, b.name))
		})
		list[i] = *g
	}
	return list
}

// rank orders templates before data.
func rank(name string) int {
	switch {
	case strings.Contains(name, "opttpl"):
		return 1
	case strings.Contains(name, "tpl"):
		return 0
	default:
		return 2
	}
}

// corpusCounts are the flows and the option records of each case. TestDescribeAgreesWithTshark holds the records that
// they are made of against tshark.
var corpusCounts = map[string][2]int{
	"ipfix":                                          {12, 1},
	"ipfix_test_barracuda":                           {8, 0},
	"ipfix_test_barracuda_extended_uniflow":          {2, 0},
	"ipfix_test_ixia":                                {3, 0},
	"ipfix_test_juniper_mx240_junos151r6s3":          {0, 1},
	"ipfix_test_mikrotik":                            {46, 0},
	"ipfix_test_netscaler":                           {3, 0},
	"ipfix_test_nokia_bras":                          {1, 0},
	"ipfix_test_openbsd_pflow":                       {26, 0},
	"ipfix_test_procera":                             {8, 0},
	"ipfix_test_viptela":                             {1, 0},
	"ipfix_test_vmware_vds":                          {5, 0},
	"ipfix_test_yaf":                                 {2, 1},
	"netflow5":                                       {2, 0},
	"netflow5_test_invalid01":                        {0, 0},
	"netflow5_test_invalid02":                        {0, 0},
	"netflow5_test_juniper_mx80":                     {29, 0},
	"netflow5_test_microtik":                         {30, 0},
	"netflow9_cisco_asr1001x":                        {25, 0},
	"netflow9_test_0length_fields":                   {10, 0},
	"netflow9_test_cisco_1941K9":                     {29, 0},
	"netflow9_test_cisco_aci":                        {3, 0},
	"netflow9_test_cisco_asa_1":                      {14, 0},
	"netflow9_test_cisco_asa_2":                      {19, 0},
	"netflow9_test_cisco_asr9k":                      {21, 19},
	"netflow9_test_cisco_nbar":                       {5, 15},
	"netflow9_test_cisco_wlc_8510":                   {0, 0},
	"netflow9_test_cisco_wlc":                        {19, 0},
	"netflow9_test_field_layer2segmentid":            {1, 0},
	"netflow9_test_fortigate_fortios_521":            {1, 1},
	"netflow9_test_fortigate_fortios_542_appid":      {17, 0},
	"netflow9_test_h3c":                              {16, 0},
	"netflow9_test_h3c_netstream_varstring":          {1, 0},
	"netflow9_test_huawei_netstream":                 {1, 0},
	"netflow9_test_invalid01":                        {2, 1},
	"netflow9_test_iptnetflow_reduced_size_encoding": {12, 0},
	"netflow9_test_juniper_srx":                      {0, 1},
	"netflow9_test_macaddr":                          {29, 1},
	"netflow9_test_nprobe":                           {1, 1},
	"netflow9_test_nprobe_dpi":                       {1, 0},
	"netflow9_test_paloalto_81":                      {1, 0},
	"netflow9_test_paloalto_panos":                   {8, 0},
	"netflow9_test_softflowd":                        {7, 0},
	"netflow9_test_streamcore":                       {4, 0},
	"netflow9_test_ubnt_edgerouter":                  {16, 0},
	"netflow9_test_unknown":                          {2, 0},
	"netflow9_test_valid01":                          {7, 0},
}

func TestCorporaAgreeWithTheTwin(t *testing.T) {
	for _, g := range corpora(t) {
		t.Run(g.name, func(t *testing.T) {
			c, slow := newCollector(t), newTwin()
			for _, p := range g.payloads {
				first := c.out.Len()
				err := c.decoder.Decode(p.data, g.exporter, received, c.out)
				if invalid := strings.HasPrefix(p.name, "netflow5_test_invalid"); (err != nil) != invalid {
					t.Errorf("%s: Decode = %v", p.name, err)
				}
				if err := sameRows(c.out, first, slow.rows(p.data, g.exporter, received)); err != nil {
					t.Errorf("%s: %v", p.name, err)
				}
			}
			if err := spareRowsAreZero(c.out); err != nil {
				t.Error(err)
			}
			got := [2]int{c.out.Len(), 0}
			for _, d := range c.store.Domains() {
				got[1] += int(d.Counts.OptionRecords)
			}
			if want := corpusCounts[g.name]; got != want {
				t.Errorf("%d flows, %d option records; want %d, %d", got[0], got[1], want[0], want[1])
			}
		})
	}
}
