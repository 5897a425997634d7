package embedded

import (
	"strconv"
	"strings"
	"time"
)

// sessionSettings is the list of settings of a statement's session: those of the client, checked and clamped for a user that only reads,
// and the limits. tag marks the session for KILL QUERY.
func sessionSettings(asked []setting, lim Limits, restricted, readonly bool, tag string) ([]setting, error) {
	limits := map[string]uint64{
		"max_execution_time": uint64(lim.ExecutionTime / time.Second),
		"max_memory_usage":   uint64(lim.Memory),
	}
	if lim.Result > 0 {
		limits["max_result_bytes"] = uint64(lim.Result)
	}
	set := make([]setting, 0, len(asked)+10)
	set = append(set, setting{"implicit_select", "0"}) // on in an embedded engine: a typing error would be a SELECT
	for _, s := range asked {
		if forbiddenSetting(s.name) {
			return nil, refuseSetting(s.name)
		}
		if s.name == "readonly" {
			// A client may only restrict itself.
			if s.value != "0" {
				readonly = true
			}
			continue
		}
		if limit, ok := limits[s.name]; ok {
			// Of a setting with a limit the smaller value counts; 0 means none.
			if v, err := strconv.ParseFloat(s.value, 64); err == nil && v >= 1 && v < float64(limit) {
				limits[s.name] = uint64(v)
			} else if err != nil || v < 0 {
				return nil, refuse(codeBadArguments, "setting %s: %q: expected a number", s.name, s.value)
			}
			continue
		}
		if restricted && !readableSetting(s.name) {
			return nil, refuse(codeReadonly, "Cannot modify %q setting in readonly mode (the read-only user may set limits, threads, time zone and formats)", s.name)
		}
		set = append(set, s)
	}
	for _, name := range []string{"max_execution_time", "max_memory_usage", "max_result_bytes"} {
		if v, ok := limits[name]; ok {
			set = append(set, setting{name, strconv.FormatUint(v, 10)})
		}
	}
	set = append(set,
		setting{tagSetting, tag},
		// The profiler interrupts threads with signals, which belong to the Go runtime here.
		setting{"query_profiler_real_time_period_ns", "0"},
		setting{"query_profiler_cpu_time_period_ns", "0"},
		setting{"allow_introspection_functions", "0"},
	)
	if restricted || readonly {
		set = append(set, setting{"readonly", "1"})
	}
	return set, nil
}

// tagSetting carries the tag by which KILL QUERY finds a session's statement. The engine has no way to name a query and no
// custom settings; this one is read by the PromQL dialect only, which is not used.
const tagSetting = "promql_database"

// readableSetting says whether the read-only user may give a setting: what shapes the result or makes a query cheaper, nothing that
// reaches out, writes, or lifts a limit. Limits with a ceiling are dealt with before.
func readableSetting(name string) bool {
	switch name {
	case "max_threads", "max_block_size", "max_rows_to_read", "max_bytes_to_read", "max_result_rows", "max_rows_to_group_by", "max_rows_to_sort",
		"result_overflow_mode", "read_overflow_mode", "timeout_overflow_mode", "group_by_overflow_mode", "sort_overflow_mode",
		"limit", "offset", "extremes", "totals_mode", "session_timezone", "log_comment", "priority", "final", "prefer_column_name_to_alias",
		"join_use_nulls", "any_join_distinct_right_table_keys", "joined_subquery_requires_alias", "union_default_mode", "group_by_use_nulls",
		"date_time_output_format", "date_time_input_format", "max_query_size", "max_ast_depth", "max_ast_elements",
		"optimize_read_in_order", "optimize_move_to_prewhere", "enable_analyzer", "allow_experimental_analyzer", "use_uncompressed_cache",
		"use_query_cache", "send_progress_in_http_headers", "low_cardinality_allow_in_native_format", "cast_keep_nullable", "count_distinct_implementation",
		"short_circuit_function_evaluation", "transform_null_in", "allow_experimental_join_condition", "max_estimated_execution_time":
		return true
	}
	for _, prefix := range []string{
		"output_format_json_", "output_format_csv_", "output_format_tsv_", "output_format_pretty_", "output_format_native_", "output_format_parquet_",
		"output_format_arrow_", "output_format_binary_", "output_format_decimal_", "output_format_values_", "output_format_markdown_", "output_format_xml_",
		"output_format_write_", "output_format_float_", "output_format_trim_", "output_format_enable_", "format_csv_", "format_tsv_", "format_json_",
		"format_custom_", "format_binary_",
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// forbiddenSetting says of a setting that nobody may give it: it names a file or an address, holds SQL in a string, makes another language of
// the text, or belongs to the front.
func forbiddenSetting(name string) bool {
	switch name {
	case tagSetting, "dialect", "polyglot_dialect", "implicit_select", "implicit_table_at_top_level", "input_format_record_errors_file_path",
		"rename_files_after_processing", "url_base", "output_format_schema", "allow_experimental_eval_table_function", "parallel_replicas_custom_key":
		return true
	}
	for _, prefix := range []string{"additional_", "format_schema", "format_template", "format_avro_schema_registry", "promql_", "ai_function_", "s3queue_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func refuseSetting(name string) error {
	return refuse(codeAccessDenied, "setting %q is refused: statements cannot reach files, processes or other hosts", name)
}

// setStatement is SET for all of them at once. Names are checked (settingName), values are quoted.
func setStatement(set []setting) string {
	var b strings.Builder
	b.WriteString("SET ")
	for i, s := range set {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(s.name)
		b.WriteString(" = ")
		b.WriteString(quote(s.value, '\''))
	}
	return b.String()
}

// quote writes s as a literal ('…') or an identifier (`…`) of SQL.
func quote(s string, q byte) string {
	b := make([]byte, 0, len(s)+2)
	b = append(b, q)
	for i := range len(s) {
		if s[i] == q || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return string(append(b, q))
}
