// Reads through pgx or lib/pq, each by itself or a few in a transaction. For each line of its input it runs all of them and
// says "done". share WAY autocommit|transactions FILE; WAY is a mode of pgx, or a driver of database/sql (sql-pgx, sql-pq);
// a line of the file is SQL with $n, then a type and a value for each parameter, between tabs; an empty one ends a
// transaction. WEIR_URL says where.
package main

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/lib/pq"
)

type read struct {
	text      string
	arguments []any
}

type work func(unit []read) error

var (
	background = context.Background()
	url        = os.Getenv("WEIR_URL")
)

func must[T any](made T, err error) T {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	return made
}

func argument(kind, value string, isPq bool) any {
	switch kind {
	case "int":
		return must(strconv.Atoi(value))
	case "ints":
		var list []int32
		for _, one := range strings.Split(value, ",") {
			list = append(list, int32(must(strconv.Atoi(one))))
		}
		if isPq {
			return pq.Array(list)
		}
		return list
	case "time":
		return must(time.Parse(time.RFC3339, value))
	case "price":
		if isPq {
			return value
		}
		var price pgtype.Numeric
		must(0, price.Scan(value))
		return price
	}
	return value
}

func units(text string, isPq bool) (made [][]read) {
	for _, unit := range strings.Split(strings.TrimSpace(text), "\n\n") {
		var reads []read
		for _, line := range strings.Split(unit, "\n") {
			parts := strings.Split(line, "\t")
			one := read{text: parts[0]}
			for i := 1; i < len(parts); i += 2 {
				one.arguments = append(one.arguments, argument(parts[i], parts[i+1], isPq))
			}
			reads = append(reads, one)
		}
		made = append(made, reads)
	}
	return
}

type rows interface {
	Next() bool
	Err() error
}

func some(found rows, err error, text string) error {
	if err != nil {
		return fmt.Errorf("%s: %w", text, err)
	}
	count := 0
	for found.Next() {
		count++
	}
	if found.Err() == nil && count == 0 {
		return fmt.Errorf("%s: no rows", text)
	}
	return found.Err()
}

type pgxAsker interface {
	Query(context.Context, string, ...any) (pgx.Rows, error)
}

func withPgx(mode pgx.QueryExecMode, isSingle bool) work {
	connection := must(pgx.Connect(background, url))
	ask := func(way pgxAsker, unit []read) error {
		for _, one := range unit {
			found, err := way.Query(background, one.text, append([]any{mode}, one.arguments...)...)
			if err = some(found, err, one.text); err != nil {
				return err
			}
		}
		return nil
	}
	return func(unit []read) error {
		if isSingle {
			return ask(connection, unit)
		}
		return pgx.BeginFunc(background, connection, func(tx pgx.Tx) error { return ask(tx, unit) })
	}
}

type sqlAsker interface {
	Query(string, ...any) (*sql.Rows, error)
}

func withSQL(driver string, isSingle bool) work {
	database := must(sql.Open(driver, url))
	database.SetMaxOpenConns(1)
	ask := func(way sqlAsker, unit []read) error {
		for _, one := range unit {
			found, err := way.Query(one.text, one.arguments...)
			if err == nil {
				err = some(found, nil, one.text)
				found.Close()
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	return func(unit []read) error {
		if isSingle {
			return ask(database, unit)
		}
		tx, err := database.Begin()
		if err != nil {
			return err
		}
		if err = ask(tx, unit); err != nil {
			return err
		}
		return tx.Commit()
	}
}

func main() {
	way, isSingle := os.Args[1], os.Args[2] == "autocommit"
	all := units(string(must(os.ReadFile(os.Args[3]))), way == "sql-pq")
	modes := map[string]pgx.QueryExecMode{"cache_statement": pgx.QueryExecModeCacheStatement,
		"cache_describe": pgx.QueryExecModeCacheDescribe, "describe_exec": pgx.QueryExecModeDescribeExec,
		"exec": pgx.QueryExecModeExec, "simple_protocol": pgx.QueryExecModeSimpleProtocol}
	var run work
	switch mode, isMode := modes[way]; {
	case isMode:
		run = withPgx(mode, isSingle)
	case way == "sql-pgx":
		run = withSQL("pgx", isSingle)
	default:
		run = withSQL("postgres", isSingle)
	}
	fmt.Println("ready")
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		for _, unit := range all {
			must(0, run(unit))
		}
		fmt.Println("done")
	}
}
