//! Reads through tokio-postgres, each by itself or a few in a transaction. For each line of its input it runs all of them
//! and says "done". share WAY autocommit|transactions FILE; WAY is query (prepares each time), prepared (once for each text), typed
//! (unnamed, with the types given) or simple; a line of the file is SQL with $n, then a type and a value for each parameter,
//! between tabs; an empty one ends a transaction. WEIR_URL says where.

use std::collections::HashMap;
use std::error::Error;
use std::io::BufRead;
use std::time::{Duration, SystemTime};

use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type};
use tokio_postgres::{Client, GenericClient, NoTls, SimpleQueryMessage, Statement};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// A number of PostgreSQL's, as text: the driver knows none of its own.
#[derive(Debug)]
struct Numeric(String);

impl ToSql for Numeric {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Outcome<IsNull> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::NUMERIC
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    tokio_postgres::types::to_sql_checked!();
}

struct Parameter {
    kind: Type,
    value: Box<dyn ToSql + Sync + Send>,
}

struct Read {
    text: String,
    parameters: Vec<Parameter>,
    /// The same with its parameters in it.
    literal: String,
}

fn parameter(text: &str, kind: &str, value: &str) -> Outcome<Parameter> {
    // LIMIT and OFFSET are bigint.
    let is_large = text.contains("LIMIT");
    let (kind, value): (Type, Box<dyn ToSql + Sync + Send>) = match kind {
        "int" if is_large => (Type::INT8, Box::new(value.parse::<i64>()?)),
        "int" => (Type::INT4, Box::new(value.parse::<i32>()?)),
        "ints" => {
            let list: Result<Vec<i32>, _> = value.split(',').map(str::parse).collect();
            (Type::INT4_ARRAY, Box::new(list?))
        }
        "seconds" => (
            Type::TIMESTAMPTZ,
            Box::new(SystemTime::UNIX_EPOCH + Duration::from_secs(value.parse()?)),
        ),
        "price" => (Type::NUMERIC, Box::new(Numeric(value.to_owned()))),
        _ => (Type::TEXT, Box::new(value.to_owned())),
    };
    Ok(Parameter { kind, value })
}

fn literal(kind: &str, value: &str) -> String {
    match kind {
        "int" | "price" => value.to_owned(),
        "ints" => format!("'{{{value}}}'"),
        "seconds" => format!("to_timestamp({value})"),
        _ => format!("'{value}'"),
    }
}

fn read(line: &str) -> Outcome<Read> {
    let parts: Vec<&str> = line.split('\t').collect();
    let mut made = Read {
        text: parts[0].to_owned(),
        parameters: Vec::new(),
        literal: parts[0].to_owned(),
    };
    for (number, pair) in parts[1..].chunks(2).enumerate() {
        made.parameters.push(parameter(parts[0], pair[0], pair[1])?);
        made.literal = made
            .literal
            .replace(&format!("${}", number + 1), &literal(pair[0], pair[1]));
    }
    Ok(made)
}

async fn ask(
    way: &str,
    prepared: &HashMap<String, Statement>,
    client: &impl GenericClient,
    unit: &[Read],
) -> Outcome {
    for read in unit {
        let values: Vec<&(dyn ToSql + Sync)> = read
            .parameters
            .iter()
            .map(|p| p.value.as_ref() as &(dyn ToSql + Sync))
            .collect();
        let count = match way {
            "query" => client.query(&read.text, &values).await?.len(),
            "prepared" => client.query(&prepared[&read.text], &values).await?.len(),
            "typed" => {
                let typed: Vec<_> = values
                    .into_iter()
                    .zip(read.parameters.iter().map(|p| p.kind.clone()))
                    .collect();
                client.query_typed(&read.text, &typed).await?.len()
            }
            _ => client
                .simple_query(&read.literal)
                .await?
                .iter()
                .filter(|m| matches!(m, SimpleQueryMessage::Row(_)))
                .count(),
        };
        if count == 0 {
            return Err(format!("no rows: {}", read.text).into());
        }
    }
    Ok(())
}

async fn connect() -> Outcome<Client> {
    let (client, connection) = tokio_postgres::connect(&std::env::var("WEIR_URL")?, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (way, is_single) = (arguments[0].as_str(), arguments[1] == "autocommit");
    let file = std::fs::read_to_string(&arguments[2])?;
    let units: Outcome<Vec<Vec<Read>>> = file
        .trim()
        .split("\n\n")
        .map(|unit| unit.lines().map(read).collect())
        .collect();
    let units = units?;
    let mut client = connect().await?;
    let mut prepared = HashMap::new();
    if way == "prepared" {
        for read in units.iter().flatten() {
            if !prepared.contains_key(&read.text) {
                prepared.insert(read.text.clone(), client.prepare(&read.text).await?);
            }
        }
    }
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        line?;
        for unit in &units {
            if is_single {
                ask(way, &prepared, &client, unit).await?;
            } else {
                let transaction = client.transaction().await?;
                ask(way, &prepared, &transaction, unit).await?;
                transaction.commit().await?;
            }
        }
        println!("done");
    }
    Ok(())
}
