package ovsdb

import (
	"fmt"
	"maps"
)

// tables is the one list of what Weir reads of a host's database. Statistics are not in it: they change every five seconds, and
// nobody here needs them.
var tables = []table{
	{
		name:   "Open_vSwitch",
		fields: fieldsOf(rootColumns),
		put: func(r *Rows, id UUID, read func(any) error) error {
			root := Root{UUID: id}
			err := read(&root)
			r.Root = root
			return err
		},
		remove: func(r *Rows, id UUID) {
			if r.Root.UUID == id {
				r.Root = Root{}
			}
		},
		own: func(*Rows) {},
	},
	tableOf("Bridge", func(r *Rows) *map[UUID]*Bridge { return &r.Bridges }, func(id UUID) *Bridge { return &Bridge{UUID: id} }, bridgeColumns),
	tableOf("Port", func(r *Rows) *map[UUID]*Port { return &r.Ports }, func(id UUID) *Port { return &Port{UUID: id} }, portColumns),
	tableOf("Interface", func(r *Rows) *map[UUID]*Interface { return &r.Interfaces }, func(id UUID) *Interface { return &Interface{UUID: id} }, interfaceColumns),
	tableOf("Controller", func(r *Rows) *map[UUID]*Controller { return &r.Controllers }, func(id UUID) *Controller { return &Controller{UUID: id} }, controllerColumns),
	tableOf("Manager", func(r *Rows) *map[UUID]*Manager { return &r.Managers }, func(id UUID) *Manager { return &Manager{UUID: id} }, managerColumns),
	tableOf("NetFlow", func(r *Rows) *map[UUID]*NetFlow { return &r.NetFlows }, func(id UUID) *NetFlow { return &NetFlow{UUID: id} }, netFlowColumns),
	tableOf("IPFIX", func(r *Rows) *map[UUID]*IPFIX { return &r.IPFIXs }, func(id UUID) *IPFIX { return &IPFIX{UUID: id} }, ipfixColumns),
	tableOf("sFlow", func(r *Rows) *map[UUID]*SFlow { return &r.SFlows }, func(id UUID) *SFlow { return &SFlow{UUID: id} }, sFlowColumns),
	tableOf("Flow_Sample_Collector_Set", func(r *Rows) *map[UUID]*SampleSet { return &r.SampleSets }, func(id UUID) *SampleSet { return &SampleSet{UUID: id} }, sampleSetColumns),
	tableOf("QoS", func(r *Rows) *map[UUID]*QoS { return &r.QoSs }, func(id UUID) *QoS { return &QoS{UUID: id} }, qosColumns),
	tableOf("Queue", func(r *Rows) *map[UUID]*Queue { return &r.Queues }, func(id UUID) *Queue { return &Queue{UUID: id} }, queueColumns),
	tableOf("Mirror", func(r *Rows) *map[UUID]*Mirror { return &r.Mirrors }, func(id UUID) *Mirror { return &Mirror{UUID: id} }, mirrorColumns),
}

// required are the columns without which a database is not that of a switch that Weir can read. Any others may be missing.
var required = [][2]string{
	{"Open_vSwitch", "bridges"},
	{"Open_vSwitch", "external_ids"},
	{"Bridge", "name"},
	{"Bridge", "ports"},
	{"Port", "name"},
	{"Port", "interfaces"},
	{"Interface", "name"},
	{"Interface", "external_ids"},
}

var rootColumns = []column[Root]{
	uuids("bridges", func(r *Root) *[]UUID { return &r.Bridges }),
	uuids("manager_options", func(r *Root) *[]UUID { return &r.Managers }),
	dict("external_ids", func(r *Root) *map[string]string { return &r.ExternalIDs }),
	dict("other_config", func(r *Root) *map[string]string { return &r.OtherConfig }),
	number("next_cfg", func(r *Root) *int64 { return &r.NextCfg }),
	number("cur_cfg", func(r *Root) *int64 { return &r.CurCfg }),
	text("ovs_version", func(r *Root) *string { return &r.OVSVersion }),
	text("db_version", func(r *Root) *string { return &r.DBVersion }),
	text("system_type", func(r *Root) *string { return &r.SystemType }),
	text("system_version", func(r *Root) *string { return &r.SystemVersion }),
}

var bridgeColumns = []column[Bridge]{
	text("name", func(r *Bridge) *string { return &r.Name }),
	text("datapath_type", func(r *Bridge) *string { return &r.DatapathType }),
	text("datapath_id", func(r *Bridge) *string { return &r.DatapathID }),
	text("fail_mode", func(r *Bridge) *string { return &r.FailMode }),
	texts("protocols", func(r *Bridge) *[]string { return &r.Protocols }),
	uuids("ports", func(r *Bridge) *[]UUID { return &r.Ports }),
	uuids("mirrors", func(r *Bridge) *[]UUID { return &r.Mirrors }),
	uuid("netflow", func(r *Bridge) *UUID { return &r.NetFlow }),
	uuid("sflow", func(r *Bridge) *UUID { return &r.SFlow }),
	uuid("ipfix", func(r *Bridge) *UUID { return &r.IPFIX }),
	uuids("controller", func(r *Bridge) *[]UUID { return &r.Controllers }),
	numbers("flood_vlans", func(r *Bridge) *[]int64 { return &r.FloodVLANs }),
	dict("external_ids", func(r *Bridge) *map[string]string { return &r.ExternalIDs }),
	dict("other_config", func(r *Bridge) *map[string]string { return &r.OtherConfig }),
}

var portColumns = []column[Port]{
	text("name", func(r *Port) *string { return &r.Name }),
	uuids("interfaces", func(r *Port) *[]UUID { return &r.Interfaces }),
	optional("tag", func(r *Port) **int64 { return &r.Tag }),
	numbers("trunks", func(r *Port) *[]int64 { return &r.Trunks }),
	text("vlan_mode", func(r *Port) *string { return &r.VLANMode }),
	flag("fake_bridge", func(r *Port) *bool { return &r.FakeBridge }),
	text("bond_mode", func(r *Port) *string { return &r.BondMode }),
	text("bond_active_slave", func(r *Port) *string { return &r.BondActiveSlave }),
	text("lacp", func(r *Port) *string { return &r.LACP }),
	uuid("qos", func(r *Port) *UUID { return &r.QoS }),
	dict("external_ids", func(r *Port) *map[string]string { return &r.ExternalIDs }),
	dict("other_config", func(r *Port) *map[string]string { return &r.OtherConfig }),
}

var interfaceColumns = []column[Interface]{
	text("name", func(r *Interface) *string { return &r.Name }),
	text("type", func(r *Interface) *string { return &r.Type }),
	dict("options", func(r *Interface) *map[string]string { return &r.Options }),
	number("ofport", func(r *Interface) *int64 { return &r.OFPort }),
	number("ifindex", func(r *Interface) *int64 { return &r.IfIndex }),
	text("mac_in_use", func(r *Interface) *string { return &r.MACInUse }),
	text("admin_state", func(r *Interface) *string { return &r.AdminState }),
	text("link_state", func(r *Interface) *string { return &r.LinkState }),
	number("mtu", func(r *Interface) *int64 { return &r.MTU }),
	text("error", func(r *Interface) *string { return &r.Error }),
	dict("external_ids", func(r *Interface) *map[string]string { return &r.ExternalIDs }),
	dict("other_config", func(r *Interface) *map[string]string { return &r.OtherConfig }),
	number("ingress_policing_rate", func(r *Interface) *int64 { return &r.IngressPolicingRate }),
	number("ingress_policing_burst", func(r *Interface) *int64 { return &r.IngressPolicingBurst }),
}

var controllerColumns = []column[Controller]{
	text("target", func(r *Controller) *string { return &r.Target }),
	text("type", func(r *Controller) *string { return &r.Type }),
	text("connection_mode", func(r *Controller) *string { return &r.ConnectionMode }),
	optional("inactivity_probe", func(r *Controller) **int64 { return &r.InactivityProbe }),
	optional("controller_rate_limit", func(r *Controller) **int64 { return &r.RateLimit }),
	optional("controller_burst_limit", func(r *Controller) **int64 { return &r.BurstLimit }),
	optional("max_backoff", func(r *Controller) **int64 { return &r.MaxBackoff }),
	flag("is_connected", func(r *Controller) *bool { return &r.IsConnected }),
	text("role", func(r *Controller) *string { return &r.Role }),
	dict("external_ids", func(r *Controller) *map[string]string { return &r.ExternalIDs }),
	dict("other_config", func(r *Controller) *map[string]string { return &r.OtherConfig }),
}

var managerColumns = []column[Manager]{
	text("target", func(r *Manager) *string { return &r.Target }),
	text("connection_mode", func(r *Manager) *string { return &r.ConnectionMode }),
	flag("is_connected", func(r *Manager) *bool { return &r.IsConnected }),
	dict("external_ids", func(r *Manager) *map[string]string { return &r.ExternalIDs }),
}

var netFlowColumns = []column[NetFlow]{
	texts("targets", func(r *NetFlow) *[]string { return &r.Targets }),
	optional("engine_type", func(r *NetFlow) **int64 { return &r.EngineType }),
	optional("engine_id", func(r *NetFlow) **int64 { return &r.EngineID }),
	flag("add_id_to_interface", func(r *NetFlow) *bool { return &r.AddIDToInterface }),
	number("active_timeout", func(r *NetFlow) *int64 { return &r.ActiveTimeout }),
	dict("external_ids", func(r *NetFlow) *map[string]string { return &r.ExternalIDs }),
}

var ipfixColumns = []column[IPFIX]{
	texts("targets", func(r *IPFIX) *[]string { return &r.Targets }),
	optional("sampling", func(r *IPFIX) **int64 { return &r.Sampling }),
	optional("obs_domain_id", func(r *IPFIX) **int64 { return &r.ObsDomainID }),
	optional("obs_point_id", func(r *IPFIX) **int64 { return &r.ObsPointID }),
	optional("cache_active_timeout", func(r *IPFIX) **int64 { return &r.CacheActiveTimeout }),
	optional("cache_max_flows", func(r *IPFIX) **int64 { return &r.CacheMaxFlows }),
	optional("template_interval", func(r *IPFIX) **int64 { return &r.TemplateInterval }),
	dict("external_ids", func(r *IPFIX) *map[string]string { return &r.ExternalIDs }),
	dict("other_config", func(r *IPFIX) *map[string]string { return &r.OtherConfig }),
}

var sFlowColumns = []column[SFlow]{
	texts("targets", func(r *SFlow) *[]string { return &r.Targets }),
	optional("sampling", func(r *SFlow) **int64 { return &r.Sampling }),
	optional("polling", func(r *SFlow) **int64 { return &r.Polling }),
	optional("header", func(r *SFlow) **int64 { return &r.Header }),
	text("agent", func(r *SFlow) *string { return &r.Agent }),
	dict("external_ids", func(r *SFlow) *map[string]string { return &r.ExternalIDs }),
}

var sampleSetColumns = []column[SampleSet]{
	number("id", func(r *SampleSet) *int64 { return &r.ID }),
	uuid("bridge", func(r *SampleSet) *UUID { return &r.Bridge }),
	uuid("ipfix", func(r *SampleSet) *UUID { return &r.IPFIX }),
	dict("external_ids", func(r *SampleSet) *map[string]string { return &r.ExternalIDs }),
}

var qosColumns = []column[QoS]{
	text("type", func(r *QoS) *string { return &r.Type }),
	numbered("queues", func(r *QoS) *map[int64]UUID { return &r.Queues }),
	dict("other_config", func(r *QoS) *map[string]string { return &r.OtherConfig }),
	dict("external_ids", func(r *QoS) *map[string]string { return &r.ExternalIDs }),
}

var queueColumns = []column[Queue]{
	optional("dscp", func(r *Queue) **int64 { return &r.DSCP }),
	dict("other_config", func(r *Queue) *map[string]string { return &r.OtherConfig }),
	dict("external_ids", func(r *Queue) *map[string]string { return &r.ExternalIDs }),
}

var mirrorColumns = []column[Mirror]{
	text("name", func(r *Mirror) *string { return &r.Name }),
	flag("select_all", func(r *Mirror) *bool { return &r.SelectAll }),
	uuids("select_src_port", func(r *Mirror) *[]UUID { return &r.SelectSrcPorts }),
	uuids("select_dst_port", func(r *Mirror) *[]UUID { return &r.SelectDstPorts }),
	numbers("select_vlan", func(r *Mirror) *[]int64 { return &r.SelectVLANs }),
	uuid("output_port", func(r *Mirror) *UUID { return &r.OutputPort }),
	optional("output_vlan", func(r *Mirror) **int64 { return &r.OutputVLAN }),
	dict("external_ids", func(r *Mirror) *map[string]string { return &r.ExternalIDs }),
}

// table is a table of Rows, whatever the type of its rows.
type table struct {
	name   string
	fields []field
	put    func(r *Rows, id UUID, read func(row any) error) error // puts a row that read has filled in place of the old one
	remove func(r *Rows, id UUID)
	own    func(r *Rows) // makes the map of rows a copy, so that it can be changed
}

// field is a column of a table.
type field struct {
	name string
	is   columnType // what the schema must say of it, else it is as good as missing
	read func(c *cursor, row any) error
}

// column is a column of the rows of type R.
type column[R any] struct {
	name string
	is   columnType
	read func(c *cursor, row *R) error
}

func fieldsOf[R any](columns []column[R]) []field {
	list := make([]field, len(columns))
	for i, col := range columns {
		list[i] = field{col.name, col.is, func(c *cursor, row any) error { return col.read(c, row.(*R)) }}
	}
	return list
}

func tableOf[R any](name string, rows func(*Rows) *map[UUID]*R, with func(UUID) *R, columns []column[R]) table {
	return table{
		name:   name,
		fields: fieldsOf(columns),
		put: func(r *Rows, id UUID, read func(any) error) error {
			row := with(id)
			if err := read(row); err != nil {
				return err
			}
			(*rows(r))[id] = row
			return nil
		},
		remove: func(r *Rows, id UUID) { delete(*rows(r), id) },
		own: func(r *Rows) {
			m := rows(r)
			if *m = maps.Clone(*m); *m == nil {
				*m = map[UUID]*R{}
			}
		},
	}
}

// one makes a column of which a row has one value or none. Of several, which no column here has, it is the last.
func one[R, V any](name, atomic string, at func(*R) *V, read func(*cursor) (V, error)) column[R] {
	return column[R]{name, columnType{key: atomic}, func(c *cursor, row *R) error {
		return c.elements(func() (err error) {
			*at(row), err = read(c)
			return err
		})
	}}
}

// many makes a column that is a set.
func many[R, V any](name, atomic string, at func(*R) *[]V, read func(*cursor) (V, error)) column[R] {
	return column[R]{name, columnType{key: atomic}, func(c *cursor, row *R) error {
		list := at(row)
		return c.elements(func() error {
			v, err := read(c)
			*list = append(*list, v)
			return err
		})
	}}
}

func text[R any](name string, at func(*R) *string) column[R] {
	return one(name, "string", at, (*cursor).text)
}

func number[R any](name string, at func(*R) *int64) column[R] {
	return one(name, "integer", at, (*cursor).integer)
}

func flag[R any](name string, at func(*R) *bool) column[R] {
	return one(name, "boolean", at, (*cursor).boolean)
}

func uuid[R any](name string, at func(*R) *UUID) column[R] {
	return one(name, "uuid", at, (*cursor).uuid)
}

func optional[R any](name string, at func(*R) **int64) column[R] {
	return one(name, "integer", at, func(c *cursor) (*int64, error) {
		n, err := c.integer()
		return &n, err
	})
}

func texts[R any](name string, at func(*R) *[]string) column[R] {
	return many(name, "string", at, (*cursor).text)
}

func numbers[R any](name string, at func(*R) *[]int64) column[R] {
	return many(name, "integer", at, (*cursor).integer)
}

func uuids[R any](name string, at func(*R) *[]UUID) column[R] {
	return many(name, "uuid", at, (*cursor).uuid)
}

func dict[R any](name string, at func(*R) *map[string]string) column[R] {
	return column[R]{name, columnType{key: "string", value: "string"}, func(c *cursor, row *R) (err error) {
		*at(row), err = c.texts()
		return err
	}}
}

// numbered makes a column that is a map of numbers to rows.
func numbered[R any](name string, at func(*R) *map[int64]UUID) column[R] {
	return column[R]{name, columnType{key: "integer", value: "uuid"}, func(c *cursor, row *R) (err error) {
		*at(row), err = c.numbered()
		return err
	}}
}

// missing lists what the schema lacks of tables, as "Controller.type" or "Flow_Sample_Collector_Set".
func (s *Schema) missing() []string {
	var list []string
	for _, t := range tables {
		if !s.Has(t.name, "") {
			list = append(list, t.name)
			continue
		}
		for _, f := range t.fields {
			if !s.reads(t.name, f) {
				list = append(list, t.name+"."+f.name)
			}
		}
	}
	return list
}

// reads says whether the schema has the column as this package knows it.
func (s *Schema) reads(table string, f field) bool {
	if !s.Has(table, f.name) {
		return false
	}
	is := s.tables[table][f.name]
	return is.key == f.is.key && is.value == f.is.value
}

// check says why the schema cannot be that of a switch, or nil.
func (s *Schema) check() error {
	for _, r := range required {
		if !s.Has(r[0], r[1]) {
			return fmt.Errorf("the database has no column %s.%s: its schema %q is not one of Open vSwitch that Weir can read", r[0], r[1], s.Version())
		}
	}
	return nil
}
