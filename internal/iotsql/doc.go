// Package iotsql is AWS IoT SQL: the language of AWS IoT Core's topic rules.
//
// Compile parses a statement for one version of the language; the Rule it
// returns is evaluated over messages, from many goroutines if need be. The
// reference is AWS's developer guide: pages iot-sql-reference, -select, -from,
// -where, -set, -data-types, -operators, -functions, -literals, -case, -json,
// -nested-queries, iot-substitution-templates and binary-payloads.
package iotsql
