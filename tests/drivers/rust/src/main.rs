//! tokio-postgres as it comes: whatever takes parameters is prepared by name, and what is awaited together is sent in
//! one pipeline. Prints "ok STEP" or "not ok STEP: why" for each step; WEIR_URL says where.

use std::error::Error;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::future::{join_all, poll_fn, try_join_all};
use futures_util::{pin_mut, SinkExt, StreamExt, TryStreamExt};
use postgres_native_tls::MakeTlsConnector;
use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, Notification, SimpleQueryMessage};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

const CLIENTS: i32 = 50;

/// One for all connections, without the system's authorities, which it would read each time.
fn tls() -> Outcome<MakeTlsConnector> {
    static MADE: OnceLock<native_tls::TlsConnector> = OnceLock::new();
    if MADE.get().is_none() {
        let connector = native_tls::TlsConnector::builder()
            .disable_built_in_roots(true)
            .danger_accept_invalid_certs(true)
            .build()?;
        let _ = MADE.set(connector);
    }
    Ok(MakeTlsConnector::new(MADE.get().expect("made").clone()))
}

/// A connection, and what it is notified of.
async fn connect_with(config: Config) -> Outcome<(Client, UnboundedReceiver<Notification>)> {
    let (client, mut connection) = config.connect(tls()?).await?;
    let (teller, heard) = unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(news) = message {
                let _ = teller.send(news);
            }
        }
    });
    Ok((client, heard))
}

fn config() -> Outcome<Config> {
    Ok(std::env::var("WEIR_URL")?.parse()?)
}

async fn connect() -> Outcome<Client> {
    Ok(connect_with(config()?).await?.0)
}

fn check(holds: bool, found: impl std::fmt::Debug) -> Outcome {
    if holds {
        Ok(())
    } else {
        Err(format!("found {found:?}").into())
    }
}

fn fails<T>(result: Result<T, tokio_postgres::Error>, state: SqlState) -> Outcome {
    match result {
        Err(failure) if failure.code() == Some(&state) => Ok(()),
        Err(failure) => Err(format!("{failure:?} instead of {state:?}").into()),
        Ok(_) => Err(format!("no error {state:?}").into()),
    }
}

/// As many connections as there are clients, each with a task; the first failure is the result.
async fn everyone<F: Future<Output = Outcome> + Send + 'static>(
    work: fn(Client, i32) -> F,
) -> Outcome {
    let tasks = (0..CLIENTS)
        .map(|number| tokio::spawn(async move { work(connect().await?, number).await }));
    for outcome in join_all(tasks).await {
        outcome??;
    }
    Ok(())
}

async fn simple_and_extended() -> Outcome {
    let client = connect().await?;
    for turn in 0..10i32 {
        let row = client
            .query_one("SELECT $1::text, $2::int", &[&"it's", &turn])
            .await?;
        check(
            row.get::<_, &str>(0) == "it's" && row.get::<_, i32>(1) == turn,
            turn,
        )?;
        let row = client
            .query_typed("SELECT $1", &[(&turn, tokio_postgres::types::Type::INT4)])
            .await?;
        check(row[0].get::<_, i32>(0) == turn, turn)?;
        let messages = client
            .simple_query(&format!("SELECT 1; SELECT {turn}"))
            .await?;
        let texts: Vec<_> = messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            })
            .collect();
        check(texts == ["1", &turn.to_string()], texts)?;
    }
    Ok(())
}

async fn prepared_statements(mut client: Client, number: i32) -> Outcome {
    let mine = client
        .prepare(&format!("SELECT {}, $1::int", number % 2))
        .await?;
    let common = client.prepare("SELECT $1::int * 2").await?;
    for turn in 0..20i32 {
        let transaction = client.transaction().await?;
        let row = transaction.query_one(&mine, &[&turn]).await?;
        check(
            row.get::<_, i32>(0) == number % 2 && row.get::<_, i32>(1) == turn,
            turn,
        )?;
        let row = transaction.query_one(&common, &[&turn]).await?;
        check(row.get::<_, i32>(0) == 2 * turn, turn)?;
        transaction.commit().await?;
    }
    drop((mine, common)); // closes them
    check(
        client.query_one("SELECT 1", &[]).await?.get::<_, i32>(0) == 1,
        "after it",
    )
}

async fn pipelines(client: Client, number: i32) -> Outcome {
    let statement = client.prepare("SELECT $1::int + $2::int").await?;
    let ask = |i: i32| {
        let (client, statement) = (&client, &statement);
        async move {
            client
                .query_one(statement, &[&number, &i])
                .await
                .map(|row| row.get::<_, i32>(0))
        }
    };
    let found = try_join_all((0..100).map(ask)).await?;
    check(found == (number..number + 100).collect::<Vec<_>>(), &found)?;
    // Different texts, so that Parse, Describe and Execute of many are on their way at once, one of them failing.
    let texts: Vec<_> = (0..20)
        .map(|i| format!("SELECT 100 / ({i} - 7 + $1::int)"))
        .collect();
    let answers = join_all(texts.iter().map(|text| client.query_one(text, &[&0i32]))).await;
    for (i, answer) in answers.into_iter().enumerate() {
        if i == 7 {
            fails(answer, SqlState::DIVISION_BY_ZERO)?;
        } else {
            check(answer?.get::<_, i32>(0) == 100 / (i as i32 - 7), i)?;
        }
    }
    Ok(())
}

async fn copies(client: Client, number: i32) -> Outcome {
    let sink = client.copy_in("COPY rust_rows FROM STDIN").await?;
    pin_mut!(sink);
    let mut sent = String::new();
    for i in 0..300 {
        let line = format!("{number}\t{i}\t{}\n", "x".repeat(i));
        sent += &line;
        sink.send(std::io::Cursor::new(line.into_bytes())).await?;
    }
    let count = sink.finish().await?;
    check(count == 300, count)?;
    let query =
        format!("COPY (SELECT * FROM rust_rows WHERE client = {number} ORDER BY i) TO STDOUT");
    let pieces: Vec<_> = client.copy_out(&query).await?.try_collect().await?;
    check(pieces.concat() == sent.as_bytes(), "other lines")?;
    let sink = client.copy_in("COPY rust_rows FROM STDIN").await?;
    pin_mut!(sink);
    sink.send(std::io::Cursor::new(b"no number\n".to_vec()))
        .await?;
    fails(sink.finish().await, SqlState::INVALID_TEXT_REPRESENTATION)?;
    {
        let sink = client.copy_in("COPY rust_rows FROM STDIN").await?;
        pin_mut!(sink);
        sink.send(std::io::Cursor::new(b"-1\t1\tgiven up\n".to_vec()))
            .await?; // and dropped: a CopyFail
    }
    let left = client
        .query_one("SELECT count(*) FROM rust_rows WHERE client = -1", &[])
        .await?;
    check(left.get::<_, i64>(0) == 0, "a copy that was given up")
}

async fn errors_in_transactions(mut client: Client, number: i32) -> Outcome {
    let transaction = client.transaction().await?;
    transaction
        .execute("INSERT INTO rust_rows VALUES (-2, $1, 'lost')", &[&number])
        .await?;
    fails(
        transaction.query_one("SELECT 1 / $1::int", &[&0i32]).await,
        SqlState::DIVISION_BY_ZERO,
    )?;
    fails(
        transaction.query_one("SELECT 1", &[]).await,
        SqlState::IN_FAILED_SQL_TRANSACTION,
    )?;
    drop(transaction); // rolls back
    let mut transaction = client.transaction().await?;
    let savepoint = transaction.savepoint("deeper").await?;
    fails(
        savepoint.execute("SELECT * FROM nowhere", &[]).await,
        SqlState::UNDEFINED_TABLE,
    )?;
    savepoint.rollback().await?;
    let lost = transaction
        .query_one("SELECT count(*) FROM rust_rows WHERE client = -2", &[])
        .await?;
    check(lost.get::<_, i64>(0) == 0, "rows of failed transactions")?;
    Ok(transaction.commit().await?)
}

async fn cancels() -> Outcome {
    let client = connect().await?;
    for _ in 0..5 {
        let token = client.cancel_token();
        let canceller = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            token.cancel_query(tls()?).await?;
            Outcome::Ok(())
        });
        fails(
            client.batch_execute("SELECT pg_sleep(600)").await,
            SqlState::QUERY_CANCELED,
        )?;
        canceller.await??;
        check(
            client
                .query_one("SELECT 1 FROM pg_sleep(0.02)", &[])
                .await?
                .get::<_, i32>(0)
                == 1,
            "after it",
        )?;
    }
    // What nobody awaits any more is answered all the same, before the next answer.
    let given_up = tokio::time::timeout(
        Duration::from_millis(50),
        client.query_one("SELECT 2 FROM pg_sleep(0.3)", &[]),
    )
    .await;
    check(given_up.is_err(), given_up)?;
    check(
        client.query_one("SELECT 3", &[]).await?.get::<_, i32>(0) == 3,
        "after a timeout",
    )
}

async fn listening() -> Outcome {
    let (listener, mut heard) = connect_with(config()?).await?;
    let speaker = connect().await?;
    listener.batch_execute("LISTEN news").await?;
    for turn in 0..5 {
        let payload = format!("news {turn}");
        speaker
            .execute("SELECT pg_notify('news', $1)", &[&payload])
            .await?;
        let news = tokio::time::timeout(Duration::from_secs(15), heard.recv()).await?;
        check(news.as_ref().is_some_and(|n| n.payload() == payload), news)?;
    }
    Ok(())
}

async fn large_rows() -> Outcome {
    let client = connect().await?;
    let large = "0123456789abcdef".repeat(1 << 20);
    for _ in 0..2 {
        let row = client.query_one("SELECT $1::text", &[&large]).await?;
        check(row.get::<_, &str>(0) == large, "other bytes")?;
    }
    let rows = client
        .query_raw(
            "SELECT i, repeat('x', 1000) FROM generate_series(1, $1::int) i",
            &[20000i32],
        )
        .await?;
    pin_mut!(rows);
    let mut seen = 0;
    while let Some(row) = rows.next().await {
        seen += 1;
        check(row?.get::<_, i32>(0) == seen, seen)?;
    }
    check(seen == 20000, seen)
}

async fn portals(mut client: Client, _number: i32) -> Outcome {
    let transaction = client.transaction().await?;
    let portal = transaction
        .bind("SELECT generate_series(1, 250)", &[])
        .await?;
    for expected in [100, 100, 50, 0] {
        let rows = transaction.query_portal(&portal, 100).await?;
        check(rows.len() == expected, rows.len())?;
    }
    Ok(transaction.commit().await?)
}

async fn shared_client(client: Client, number: i32) -> Outcome {
    let client = Arc::new(client);
    let tasks = (0..8i32).map(|i| {
        let client = client.clone();
        tokio::spawn(async move {
            for turn in 0..5i32 {
                let row = client
                    .query_one("SELECT $1::int, $2::int", &[&i, &turn])
                    .await?;
                check(
                    row.get::<_, i32>(0) == i && row.get::<_, i32>(1) == turn,
                    (number, i, turn),
                )?;
            }
            Outcome::Ok(())
        })
    });
    for outcome in join_all(tasks).await {
        outcome??;
    }
    Ok(())
}

async fn step<F: Future<Output = Outcome>>(name: &str, work: F) -> bool {
    let begun = Instant::now();
    let outcome = tokio::time::timeout(Duration::from_secs(60), work)
        .await
        .unwrap_or_else(|late| Err(late.into()));
    match &outcome {
        Ok(()) => println!(
            "ok tokio-postgres: {name} ({} ms)",
            begun.elapsed().as_millis()
        ),
        Err(failure) => println!("not ok tokio-postgres: {name}: {failure:?}"),
    }
    outcome.is_ok()
}

#[tokio::main]
async fn main() -> Outcome {
    connect()
        .await?
        .batch_execute("CREATE TABLE rust_rows (client int, i int, t text)")
        .await?;
    let held = [
        step("simple and extended", simple_and_extended()).await,
        step(
            "prepared statements of many clients",
            everyone(prepared_statements),
        )
        .await,
        step("pipelines", everyone(pipelines)).await,
        step("copies", everyone(copies)).await,
        step("errors in transactions", everyone(errors_in_transactions)).await,
        step("cancels", cancels()).await,
        step("listening", listening()).await,
        step("large rows", large_rows()).await,
        step("portals", everyone(portals)).await,
        step("many tasks on one client", everyone(shared_client)).await,
    ];
    std::process::exit(i32::from(held.contains(&false)));
}
