package admin

import (
	"net/netip"
	"slices"
	"strings"

	"sluice/admin/inspect"
	"sluice/configcenter"
	"sluice/configcenter/resource"
	"sluice/plugins"
)

// shown is an object as the control API shows it: as it is in use, with the
// defaults of its schema and its plugins', and its nodes as a list.
type shown struct {
	Key      string `json:"key"`
	Value    any    `json:"value"`
	Created  int64  `json:"createdIndex"`
	Modified int64  `json:"modifiedIndex"`
	// HasDomain says that a node is a name, not an address.
	HasDomain bool `json:"has_domain"`
}

func (c *Control) show(k resource.Kind, it LiveItem) shown {
	s := shown{Key: it.Key, Value: it.Value, Created: it.Created, Modified: it.Modified}
	value := filled(k, it)
	if value == nil {
		return s
	}
	value["id"] = it.ID
	c.fillPlugins(value)
	up, inside := value["upstream"].(object)
	if !inside {
		up = value
	}
	s.HasDomain = listNodes(up)
	s.Value = value
	return s
}

// filled is a stored object with the defaults of its schema; nil for one that
// is no object, which cannot be in use.
func filled(k resource.Kind, it LiveItem) object {
	value, err := decodeStored(it.Value)
	if err != nil {
		return nil
	}
	if sc := configcenter.SchemaOf(k, it.ID); sc != nil {
		value, _ = sc.Fill(value).(object)
	}
	return value
}

func (c *Control) fillPlugins(value object) {
	enabled, _ := c.Plugins()
	confs, _ := value["plugins"].(object)
	for name, conf := range confs {
		if sc := enabled.Schema(name, plugins.Conf); sc != nil {
			conf = sc.Fill(conf)
		}
		if o, ok := conf.(object); ok {
			if o["_meta"] == nil {
				o["_meta"] = object{}
			}
			confs[name] = o
		}
	}
}

// listNodes makes a list of an upstream's nodes, if they are a map, and says
// whether one of them is a name.
func listNodes(up object) (domain bool) {
	switch nodes := up["nodes"].(type) {
	case object:
		list := make([]any, 0, len(nodes))
		for _, addr := range sorted(nodes) {
			node := object{"host": addr, "weight": nodes[addr]}
			if port, ok := inspect.Port(addr); ok {
				node["host"], node["port"] = addr[:strings.LastIndexByte(addr, ':')], port
			}
			list = append(list, node)
		}
		up["nodes"] = list
		return slices.ContainsFunc(list, isDomain)
	case []any:
		return slices.ContainsFunc(nodes, isDomain)
	}
	return false
}

func isDomain(node any) bool {
	o, _ := node.(object)
	host, _ := o["host"].(string)
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err != nil
}
