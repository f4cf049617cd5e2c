//! Shapes of rows: which columns a profile has, of which kind and size.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Metadata key of a field whose text is JSON.
const JSON_KEY: &str = "json";

/// A shape of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// 15 columns, about 390 bytes.
    Small,
    /// 22 columns, about 1.7 KB, most of it one JSON document of 1.5 KB.
    Medium,
    /// 20 columns, about 69 KB, most of it in nine texts of 7 KB and a JSON document of 6 KB.
    Large,
}

/// A column of a profile.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// In every schema and in SQL.
    pub name: &'static str,
    /// What it holds.
    pub content: Content,
    /// Whether one row in sixteen has NULL in it.
    pub nullable: bool,
}

/// What a column holds. Sizes are means in bytes; rows vary by a quarter around them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The row's number, from 0.
    Id,
    /// A whole number.
    Integer,
    /// A number with two decimals.
    Float,
    /// True or false.
    Boolean,
    /// A moment of 2025, in microseconds.
    Timestamp,
    /// Words.
    Text(usize),
    /// A JSON object, in the form in which PostgreSQL's `jsonb` prints it.
    Json(usize),
}

const fn column(name: &'static str, content: Content) -> Column {
    Column { name, content, nullable: false }
}

const fn nullable(name: &'static str, content: Content) -> Column {
    Column { name, content, nullable: true }
}

use Content::{Boolean, Float, Id, Integer, Json, Text, Timestamp};

const SMALL: [Column; 15] = [
    column("id", Id),
    column("created_at", Timestamp),
    column("updated_at", Timestamp),
    column("user_id", Integer),
    column("amount", Float),
    nullable("score", Float),
    column("active", Boolean),
    column("verified", Boolean),
    column("name", Text(22)),
    column("email", Text(32)),
    column("city", Text(16)),
    column("country", Text(8)),
    column("status", Text(8)),
    column("reference", Text(36)),
    nullable("note", Text(236)),
];

const MEDIUM: [Column; 22] = [
    column("id", Id),
    column("created_at", Timestamp),
    column("updated_at", Timestamp),
    column("user_id", Integer),
    column("amount", Float),
    nullable("score", Float),
    column("quantity", Integer),
    column("active", Boolean),
    column("verified", Boolean),
    column("name", Text(12)),
    column("email", Text(20)),
    column("city", Text(8)),
    column("country", Text(4)),
    column("status", Text(6)),
    column("sku", Text(10)),
    column("channel", Text(4)),
    column("currency", Text(4)),
    column("reference", Text(16)),
    nullable("tag", Text(6)),
    nullable("campaign", Text(6)),
    nullable("note", Text(26)),
    column("document", Json(1_500)),
];

const LARGE: [Column; 20] = [
    column("id", Id),
    column("created_at", Timestamp),
    column("updated_at", Timestamp),
    column("user_id", Integer),
    column("amount", Float),
    column("active", Boolean),
    column("name", Text(20)),
    column("email", Text(30)),
    column("status", Text(8)),
    column("reference", Text(36)),
    column("body_1", Text(7_000)),
    column("body_2", Text(7_000)),
    column("body_3", Text(7_000)),
    column("body_4", Text(7_000)),
    column("body_5", Text(7_000)),
    column("body_6", Text(7_000)),
    column("body_7", Text(7_000)),
    column("body_8", Text(7_000)),
    nullable("body_9", Text(7_000)),
    column("document", Json(6_000)),
];

impl Profile {
    /// Rows that the published runs copied.
    pub const fn rows(self) -> u32 {
        match self {
            Self::Small => 100_000,
            Self::Medium => 50_000,
            Self::Large => 10_000,
        }
    }

    /// The columns.
    pub const fn columns(self) -> &'static [Column] {
        match self {
            Self::Small => &SMALL,
            Self::Medium => &MEDIUM,
            Self::Large => &LARGE,
        }
    }

    /// The Arrow schema of its rows.
    pub fn schema(self) -> SchemaRef {
        Arc::new(Schema::new(
            self.columns()
                .iter()
                .map(|column| {
                    let field = Field::new(column.name, column.content.data_type(), column.nullable);
                    match column.content {
                        Json(_) => field.with_metadata([(JSON_KEY.to_owned(), "true".to_owned())]),
                        _ => field,
                    }
                })
                .collect::<Vec<_>>(),
        ))
    }
}

/// The type of moments: microseconds of UTC, as PostgreSQL keeps them.
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

impl Content {
    fn data_type(self) -> DataType {
        match self {
            Id | Integer => DataType::Int64,
            Float => DataType::Float64,
            Boolean => DataType::Boolean,
            Timestamp => timestamp_type(),
            Text(_) | Json(_) => DataType::Utf8,
        }
    }
}

/// Whether the text of `field` is JSON.
pub fn is_json(field: &Field) -> bool {
    field.metadata().contains_key(JSON_KEY)
}

/// The types that pass through the pipeline, so that each place that handles all of them is an exhaustive match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// 64-bit whole numbers.
    Integer,
    /// 64-bit floating point numbers.
    Float,
    /// Booleans.
    Boolean,
    /// Microseconds since 1970.
    Timestamp,
    /// Text.
    Text,
    /// Text that is JSON.
    Json,
}

impl ColumnType {
    /// The type of a field of a pipeline's schema.
    ///
    /// # Panics
    /// On a type that no profile and no transform has.
    pub fn of(field: &Field) -> Self {
        match field.data_type() {
            DataType::Int64 => Self::Integer,
            DataType::Float64 => Self::Float,
            DataType::Boolean => Self::Boolean,
            DataType::Timestamp(TimeUnit::Microsecond, _) => Self::Timestamp,
            DataType::Utf8 if is_json(field) => Self::Json,
            DataType::Utf8 => Self::Text,
            other => panic!("no profile has a column of type {other}"),
        }
    }

    /// The types of a schema.
    pub fn all(schema: &Schema) -> Vec<Self> {
        schema.fields().iter().map(|field| Self::of(field)).collect()
    }
}
