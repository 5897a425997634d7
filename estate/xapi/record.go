package xapi

import "strings"

// class is a kind of records, as events name it.
type class string

// The classes that are read, of those that XAPI has.
const (
	classPool         class = "pool"
	classHost         class = "host"
	classHostMetrics  class = "host_metrics"
	classNetwork      class = "network"
	classVM           class = "vm"
	classGuestMetrics class = "vm_guest_metrics"
	classVIF          class = "vif"
	classPIF          class = "pif"
	classBond         class = "bond"
	classVLAN         class = "vlan"
	classTunnel       class = "tunnel"
	classController   class = "sdn_controller"
)

// Records, with the fields that are used. Fields that a version of XAPI lacks are zero.
type (
	poolRecord struct {
		UUID        string            `json:"uuid"`
		Name        string            `json:"name_label"`
		Master      ref               `json:"master"`
		Tags        []string          `json:"tags"`
		OtherConfig map[string]string `json:"other_config"`
	}

	hostRecord struct {
		UUID        string            `json:"uuid"`
		Name        string            `json:"name_label"`
		Hostname    string            `json:"hostname"`
		Address     string            `json:"address"`
		Enabled     bool              `json:"enabled"`
		Software    map[string]string `json:"software_version"`
		Metrics     ref               `json:"metrics"`
		Tags        []string          `json:"tags"`
		OtherConfig map[string]string `json:"other_config"`
	}

	hostMetricsRecord struct {
		Live bool `json:"live"`
	}

	networkRecord struct {
		UUID        string            `json:"uuid"`
		Name        string            `json:"name_label"`
		Bridge      string            `json:"bridge"`
		MTU         integer           `json:"MTU"`
		Managed     *bool             `json:"managed"` // absent in old versions, where all are
		LockingMode string            `json:"default_locking_mode"`
		Purpose     []string          `json:"purpose"`
		Tags        []string          `json:"tags"`
		OtherConfig map[string]string `json:"other_config"`
	}

	vmRecord struct {
		UUID         string            `json:"uuid"`
		Name         string            `json:"name_label"`
		PowerState   string            `json:"power_state"` // Halted, Paused, Running, Suspended
		ResidentOn   ref               `json:"resident_on"`
		ScheduledOn  ref               `json:"scheduled_to_be_resident_on"` // of a VM that is started or migrated
		GuestMetrics ref               `json:"guest_metrics"`
		Tags         []string          `json:"tags"`
		OtherConfig  map[string]string `json:"other_config"`
		Template     bool              `json:"is_a_template"`
		Snapshot     bool              `json:"is_a_snapshot"`
		ControlDom   bool              `json:"is_control_domain"`
		DomID        integer           `json:"domid"`
		Operations   map[string]string `json:"current_operations"` // of tasks, as pool_migrate
	}

	guestMetricsRecord struct {
		Networks  map[string]string `json:"networks"` // <device>/ip, <device>/ipv4/<n>, <device>/ipv6/<n>
		OSVersion map[string]string `json:"os_version"`
	}

	vifRecord struct {
		UUID        string            `json:"uuid"`
		Device      string            `json:"device"`
		MAC         string            `json:"MAC"`
		MTU         integer           `json:"MTU"`
		Network     ref               `json:"network"`
		VM          ref               `json:"VM"`
		Attached    bool              `json:"currently_attached"`
		LockingMode string            `json:"locking_mode"`
		IPv4Allowed []string          `json:"ipv4_allowed"`
		IPv6Allowed []string          `json:"ipv6_allowed"`
		QoSType     string            `json:"qos_algorithm_type"`
		QoSParams   map[string]string `json:"qos_algorithm_params"` // kbps is kilobytes a second
		OtherConfig map[string]string `json:"other_config"`
	}

	pifRecord struct {
		UUID       string  `json:"uuid"`
		Device     string  `json:"device"`
		MAC        string  `json:"MAC"`
		Host       ref     `json:"host"`
		Network    ref     `json:"network"`
		VLAN       integer `json:"VLAN"` // -1: none
		IP         string  `json:"IP"`
		Netmask    string  `json:"netmask"`
		Management bool    `json:"management"`
		Physical   bool    `json:"physical"`
		Attached   bool    `json:"currently_attached"`
	}

	bondRecord struct {
		Master ref   `json:"master"`
		Slaves []ref `json:"slaves"`
	}

	vlanRecord struct {
		Tagged   ref     `json:"tagged_PIF"`
		Untagged ref     `json:"untagged_PIF"`
		Tag      integer `json:"tag"`
	}

	tunnelRecord struct {
		Access    ref               `json:"access_PIF"`
		Transport ref               `json:"transport_PIF"`
		Status    map[string]string `json:"status"`
		Protocol  string            `json:"protocol"`
	}

	controllerRecord struct {
		Protocol string  `json:"protocol"` // ssl, pssl
		Address  string  `json:"address"`
		Port     integer `json:"port"`
	}
)

// product returns brand and version of what runs on the host.
func (h *hostRecord) product() string {
	return strings.TrimSpace(h.Software["product_brand"] + " " + h.Software["product_version"])
}
