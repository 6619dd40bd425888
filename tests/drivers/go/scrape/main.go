// What an exporter for Prometheus does with PgBouncer's console: database/sql over lib/pq, which keeps one connection and
// asks by queries without parameters. Prints all rows of each SHOW as JSON, each value with the type that it arrived in;
// WEIR_URL says where.
package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"

	"github.com/lib/pq"
)

type value struct {
	Type  string `json:"type"`
	Value any    `json:"value"`
}

func typed(raw any) value {
	switch v := raw.(type) {
	case []byte:
		return value{"bytes", string(v)}
	case string:
		return value{"text", v}
	case int64:
		return value{"int", v}
	case nil:
		return value{"null", nil}
	default:
		return value{fmt.Sprintf("%T", raw), fmt.Sprint(raw)}
	}
}

func show(db *sql.DB, what string) ([]map[string]value, error) {
	rows, err := db.Query("SHOW " + what + ";")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	found := []map[string]value{}
	for rows.Next() {
		data, targets := make([]any, len(names)), make([]any, len(names))
		for i := range data {
			targets[i] = &data[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, err
		}
		row := map[string]value{}
		for i, name := range names {
			row[name] = typed(data[i])
		}
		found = append(found, row)
	}
	return found, rows.Err()
}

func run() error {
	connector, err := pq.NewConnector(os.Getenv("WEIR_URL"))
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	db.SetMaxOpenConns(1)
	answers := map[string][]map[string]value{}
	for range 3 { // the connection is kept for the next time
		for _, what := range os.Args[1:] {
			if answers[what], err = show(db, what); err != nil {
				return fmt.Errorf("SHOW %s: %w", what, err)
			}
		}
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
