// Package plugin is the data source as Grafana knows it: queries, health and resources of one instance, over package
// clickhouse. It decides who may do what; what a query means is package model's, and how rows become frames is frame's.
package plugin
