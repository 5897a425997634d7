package hosts_test

import (
	"time"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/ovsdb"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func entityID(id uint64) flow.ID { return flow.ID(id) }

var ovsdbController = ovsdb.Controller{UUID: "x", Target: "tcp:192.0.2.9:6653"}
