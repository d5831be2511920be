# Run once, by the server's image, when the database is made: the platform's role owns its database and nothing else.
psql -v ON_ERROR_STOP=1 -v password="$POSTGRES_PASSWORD" --username postgres <<'SQL'
CREATE ROLE laurel LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
CREATE DATABASE laurel OWNER laurel;
ALTER ROLE postgres PASSWORD NULL;
SQL
