// pgx as it comes: its statement cache prepares by name whatever it is given, and its batches are pipelines. Prints
// "ok STEP" or "not ok STEP: why" for each step; WEIR_URL says where.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
)

const clients = 50

var (
	url        = os.Getenv("WEIR_URL")
	background = context.Background()
	pool       *pgxpool.Pool
)

func expect(holds bool, format string, arguments ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, arguments...)
}

// code is the SQLSTATE of an error, or what else it says.
func code(err error) string {
	var failure *pgconn.PgError
	if errors.As(err, &failure) {
		return failure.Code
	}
	return fmt.Sprint(err)
}

// everyone runs work in as many goroutines as there are clients; the first failure is the result.
func everyone(work func(number int) error) error {
	var group sync.WaitGroup
	failures := make(chan error, clients)
	for number := range clients {
		group.Add(1)
		go func() {
			defer group.Done()
			if err := work(number); err != nil {
				failures <- fmt.Errorf("client %d: %w", number, err)
			}
		}()
	}
	group.Wait()
	close(failures)
	return <-failures
}

func simpleAndExtended() error {
	modes := []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement,
		pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec}
	for _, mode := range modes {
		for turn := range 5 {
			var text string
			var number int
			err := pool.QueryRow(background, "SELECT $1::text, $2::int", mode, "text", turn).Scan(&text, &number)
			if err != nil {
				return fmt.Errorf("%v: %w", mode, err)
			}
			if text != "text" || number != turn {
				return fmt.Errorf("%v: %q, %d", mode, text, number)
			}
		}
	}
	return nil
}

func namedStatements() error {
	return everyone(func(number int) error {
		connection, err := pgx.Connect(background, url)
		if err != nil {
			return err
		}
		defer connection.Close(background)
		// One name with another text in every second client.
		if _, err := connection.Prepare(background, "mine", fmt.Sprintf("SELECT %d, $1::int", number%2)); err != nil {
			return err
		}
		for turn := range 20 {
			err := pgx.BeginFunc(background, connection, func(tx pgx.Tx) error {
				var parity, given int
				for range 2 {
					if err := tx.QueryRow(background, "mine", turn).Scan(&parity, &given); err != nil {
						return err
					}
					if parity != number%2 || given != turn {
						return fmt.Errorf("%d, %d instead of %d, %d", parity, given, number%2, turn)
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		if err := connection.Deallocate(background, "mine"); err != nil {
			return err
		}
		_, err = connection.Exec(background, "SELECT 1")
		return err
	})
}

func batches() error {
	return everyone(func(number int) error {
		batch := &pgx.Batch{}
		sum := 0
		for i := range 40 {
			batch.Queue("SELECT $1::int + $2::int", number, i).QueryRow(func(row pgx.Row) error {
				var n int
				err := row.Scan(&n)
				sum += n
				return err
			})
		}
		if err := pool.SendBatch(background, batch).Close(); err != nil {
			return err
		}
		if sum != 40*number+780 {
			return fmt.Errorf("sum %d", sum)
		}
		failing := &pgx.Batch{}
		failing.Queue("SELECT 1")
		failing.Queue("SELECT 1/$1::int", 0)
		failing.Queue("SELECT 2")
		err := pool.SendBatch(background, failing).Close()
		return expect(code(err) == "22012", "a failing batch: %v", err)
	})
}

func copies() error {
	return everyone(func(number int) error {
		connection, err := pool.Acquire(background)
		if err != nil {
			return err
		}
		defer connection.Release()
		rows := make([][]any, 300)
		for i := range rows {
			rows[i] = []any{number, i, strings.Repeat("x", i)}
		}
		count, err := connection.CopyFrom(background, pgx.Identifier{"go_copied"}, []string{"client", "i", "t"},
			pgx.CopyFromRows(rows))
		if err != nil || count != 300 {
			return fmt.Errorf("copied %d: %w", count, err)
		}
		var out bytes.Buffer
		_, err = connection.Conn().PgConn().CopyTo(background, &out,
			fmt.Sprintf("COPY (SELECT i, t FROM go_copied WHERE client = %d) TO STDOUT", number))
		if err != nil {
			return err
		}
		if lines := strings.Count(out.String(), "\n"); lines != 300 {
			return fmt.Errorf("%d lines", lines)
		}
		_, err = connection.Conn().PgConn().CopyFrom(background, strings.NewReader("no number\n"), "COPY go_copied FROM STDIN")
		return expect(code(err) == "22P02", "a copy of nonsense: %v", err)
	})
}

func errorsInTransactions() error {
	return everyone(func(number int) error {
		err := pgx.BeginFunc(background, pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(background, "INSERT INTO go_copied VALUES (-1, $1, 'lost')", number); err != nil {
				return err
			}
			_, err := tx.Exec(background, "SELECT 1/$1::int", 0)
			return err
		})
		if code(err) != "22012" {
			return fmt.Errorf("the division: %w", err)
		}
		return pgx.BeginFunc(background, pool, func(tx pgx.Tx) error {
			err := pgx.BeginFunc(background, tx, func(inner pgx.Tx) error { // a savepoint
				_, err := inner.Exec(background, "SELECT * FROM nowhere")
				return err
			})
			if code(err) != "42P01" {
				return fmt.Errorf("the savepoint: %w", err)
			}
			var lost int
			err = tx.QueryRow(background, "SELECT count(*) FROM go_copied WHERE client = -1").Scan(&lost)
			return errors.Join(err, expect(lost == 0, "%d rows of failed transactions", lost))
		})
	})
}

// nobodySleeps waits until PostgreSQL runs no query of this mark any more.
func nobodySleeps(mark string) error {
	deadline := time.Now().Add(15 * time.Second)
	for {
		var count int
		err := pool.QueryRow(background, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"+
			" AND query LIKE '%' || $1 || '%' AND pid <> pg_backend_pid()", mark).Scan(&count)
		if err != nil || count == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d queries still run", count)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func contextEnds() error {
	limited, stop := context.WithTimeout(background, 200*time.Millisecond)
	defer stop()
	if _, err := pool.Exec(limited, "SELECT pg_sleep(600) /* by context */"); err == nil {
		return errors.New("slept to the end")
	}
	return nobodySleeps("by context")
}

func cancelRequest() error {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return err
	}
	config.BuildContextWatcherHandler = func(connection *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: connection, DeadlineDelay: 30 * time.Second}
	}
	connection, err := pgx.ConnectConfig(background, config)
	if err != nil {
		return err
	}
	defer connection.Close(background)
	for range 5 {
		limited, stop := context.WithTimeout(background, 100*time.Millisecond)
		_, err = connection.Exec(limited, "SELECT pg_sleep(600) /* by request */")
		stop()
		if code(err) != "57014" {
			return fmt.Errorf("cancelled: %w", err)
		}
		// The same connection goes on, and nothing that came late hits its next query.
		var one int
		if err = connection.QueryRow(background, "SELECT 1 FROM pg_sleep(0.02)").Scan(&one); err != nil {
			return err
		}
	}
	return nobodySleeps("by request")
}

func listening() error {
	listener, err := pgx.Connect(background, url)
	if err != nil {
		return err
	}
	defer listener.Close(background)
	if _, err = listener.Exec(background, "LISTEN news"); err != nil {
		return err
	}
	for turn := range 5 {
		payload := fmt.Sprint("news ", turn)
		if _, err = pool.Exec(background, "SELECT pg_notify('news', $1)", payload); err != nil {
			return err
		}
		limited, stop := context.WithTimeout(background, 15*time.Second)
		heard, err := listener.WaitForNotification(limited)
		stop()
		if err != nil || heard.Payload != payload {
			return fmt.Errorf("heard %v: %w", heard, err)
		}
	}
	return nil
}

func largeRows() error {
	large := strings.Repeat("0123456789abcdef", 1<<20) // 16 MiB
	for range 3 {
		var back string
		var size int
		if err := pool.QueryRow(background, "SELECT $1::text, length($1)", large).Scan(&back, &size); err != nil {
			return err
		}
		if back != large || size != len(large) {
			return fmt.Errorf("%d bytes came back, %d arrived", len(back), size)
		}
	}
	rows, _ := pool.Query(background, "SELECT i, repeat('x', 1000) FROM generate_series(1, $1::int) i", 20000)
	seen := 0
	var number int
	var filler string
	_, err := pgx.ForEachRow(rows, []any{&number, &filler}, func() error {
		seen++
		return expect(number == seen && len(filler) == 1000, "row %d is %d with %d bytes", seen, number, len(filler))
	})
	return errors.Join(err, expect(seen == 20000, "%d rows", seen))
}

func settings() error {
	return everyone(func(number int) error {
		config, err := pgx.ParseConfig(url)
		if err != nil {
			return err
		}
		name := fmt.Sprint("client ", number)
		config.RuntimeParams["application_name"] = name
		config.RuntimeParams["work_mem"] = fmt.Sprint(1100+number, "kB")
		connection, err := pgx.ConnectConfig(background, config)
		if err != nil {
			return err
		}
		defer connection.Close(background)
		for range 10 {
			var application, memory string
			err := connection.QueryRow(background, "SELECT current_setting('application_name'), current_setting('work_mem')").
				Scan(&application, &memory)
			if err != nil {
				return err
			}
			if application != name || memory != fmt.Sprint(1100+number, "kB") {
				return fmt.Errorf("%s, %s", application, memory)
			}
		}
		return nil
	})
}

func main() {
	config, err := pgxpool.ParseConfig(url)
	if err == nil {
		config.MaxConns = clients
		pool, err = pgxpool.NewWithConfig(background, config)
	}
	if err == nil {
		_, err = pool.Exec(background, "CREATE TABLE go_copied (client int, i int, t text)")
	}
	if err != nil {
		fmt.Println("not ok pgx: connects:", err)
		os.Exit(1)
	}
	steps := []struct {
		name string
		work func() error
	}{
		{"simple and extended", simpleAndExtended},
		{"named statements of many clients", namedStatements},
		{"batches", batches},
		{"copies", copies},
		{"errors in transactions", errorsInTransactions},
		{"the end of a context", contextEnds},
		{"cancel requests", cancelRequest},
		{"listening", listening},
		{"large rows", largeRows},
		{"settings of each client", settings},
	}
	failed := false
	for _, step := range steps {
		begun := time.Now()
		if err := step.work(); err != nil {
			fmt.Printf("not ok pgx: %s: %v\n", step.name, err)
			failed = true
		} else {
			fmt.Printf("ok pgx: %s (%d ms)\n", step.name, time.Since(begun).Milliseconds())
		}
	}
	pool.Close()
	if failed {
		os.Exit(1)
	}
}
