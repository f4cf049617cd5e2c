//! Values as parameters of statements, in PostgreSQL's binary form.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::{copy_binary::put_field, value::Value};

impl ToSql for Value<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        put_field(*self, out);
        Ok(if *self == Value::Null { IsNull::Yes } else { IsNull::No })
    }

    /// The table's columns were made from the same types.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
