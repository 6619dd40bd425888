// pgjdbc as it comes: the unnamed statement at first, a named one from the fifth use on. Prints "ok STEP" or
// "not ok STEP: why" for each step; WEIR_URL says where.
import java.io.StringReader;
import java.io.StringWriter;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

public class Driver {
    static final String URL = System.getenv("WEIR_URL");
    static final int CLIENTS = 50;
    static boolean failed = false;

    interface Step {
        void run() throws Exception;
    }

    interface Work {
        void with(Connection connection, int number) throws Exception;
    }

    static void step(String name, Step step) {
        long begun = System.nanoTime();
        try {
            step.run();
            System.out.printf("ok pgjdbc: %s (%d ms)%n", name, (System.nanoTime() - begun) / 1000000);
        } catch (Throwable failure) {
            failed = true;
            System.out.printf("not ok pgjdbc: %s: %s%n", name, failure);
            failure.printStackTrace();
        }
    }

    static void check(boolean holds, Object found) {
        if (!holds) {
            throw new AssertionError(found);
        }
    }

    static void fails(String state, Step step) throws Exception {
        try {
            step.run();
        } catch (SQLException failure) {
            check(state.equals(failure.getSQLState()), failure);
            return;
        }
        throw new AssertionError("no error " + state);
    }

    static Connection connect(String... properties) throws SQLException {
        Properties all = new Properties();
        for (int i = 0; i < properties.length; i += 2) {
            all.setProperty(properties[i], properties[i + 1]);
        }
        return DriverManager.getConnection(URL, all);
    }

    /** As many connections as there are clients, each with a thread; the first failure is thrown. */
    static void everyone(Work work) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(CLIENTS);
        List<Future<?>> all = new ArrayList<>();
        for (int i = 0; i < CLIENTS; i++) {
            int number = i;
            all.add(threads.submit(() -> {
                try (Connection connection = connect()) {
                    work.with(connection, number);
                }
                return null;
            }));
        }
        threads.shutdown();
        for (Future<?> one : all) {
            one.get(60, TimeUnit.SECONDS);
        }
    }

    static int number(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(sql)) {
            rows.next();
            return rows.getInt(1);
        }
    }

    static void execute(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }

    static void simpleAndExtended() throws Exception {
        for (String mode : new String[] {"simple", "extended", "extendedForPrepared", "extendedCacheEverything"}) {
            try (Connection connection = connect("preferQueryMode", mode)) {
                for (int turn = 0; turn < 12; turn++) {
                    try (PreparedStatement statement = connection.prepareStatement("SELECT ?::text, ?::int")) {
                        statement.setString(1, "it's");
                        statement.setInt(2, turn);
                        try (ResultSet rows = statement.executeQuery()) {
                            check(rows.next() && rows.getString(1).equals("it's") && rows.getInt(2) == turn, mode);
                        }
                    }
                    check(number(connection, "SELECT " + turn) == turn, mode);
                }
            }
        }
    }

    static void preparedStatements(Connection connection, int number) throws SQLException {
        connection.setAutoCommit(false);
        try (PreparedStatement mine = connection.prepareStatement("SELECT " + number % 2 + ", ?::int");
             PreparedStatement common = connection.prepareStatement("SELECT ?::int * 2")) {
            for (int turn = 0; turn < 20; turn++) {
                mine.setInt(1, turn);
                try (ResultSet rows = mine.executeQuery()) {
                    check(rows.next() && rows.getInt(1) == number % 2 && rows.getInt(2) == turn, turn);
                }
                common.setInt(1, turn);
                try (ResultSet rows = common.executeQuery()) {
                    check(rows.next() && rows.getInt(1) == 2 * turn, turn);
                }
                connection.commit();
            }
        }
    }

    static void batches(Connection connection, int number) throws Exception {
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO java_rows VALUES (?, ?, ?)")) {
            for (int round = 0; round < 7; round++) {
                for (int i = 0; i < 50; i++) {
                    insert.setInt(1, number);
                    insert.setInt(2, i);
                    insert.setString(3, "x".repeat(i));
                    insert.addBatch();
                }
                check(insert.executeBatch().length == 50, "counts");
            }
        }
        check(number(connection, "SELECT count(*) FROM java_rows WHERE client = " + number) == 350, "rows");
        try (PreparedStatement divide = connection.prepareStatement("UPDATE java_rows SET i = 1 / ?::int WHERE client = -1 - ?::int")) {
            execute(connection, "INSERT INTO java_rows VALUES (" + (-1 - number) + ", 7, '')");
            for (int i = 3; i >= 0; i--) {
                divide.setInt(1, i);
                divide.setInt(2, number);
                divide.addBatch();
            }
            try {
                divide.executeBatch();
                throw new AssertionError("no error");
            } catch (BatchUpdateException failure) {
                check("22012".equals(failure.getSQLState()), failure);
            }
        }
        // Outside a transaction, the driver sends a whole batch before one Sync: all of it or nothing.
        check(number(connection, "SELECT i FROM java_rows WHERE client = " + (-1 - number)) == 7, "half a batch");
    }

    static void rewrittenBatches() throws Exception {
        try (Connection connection = connect("reWriteBatchedInserts", "true")) {
            try (PreparedStatement insert = connection.prepareStatement("INSERT INTO java_rows VALUES (?, ?, ?)")) {
                for (int i = 0; i < 1000; i++) {
                    insert.setInt(1, 1000);
                    insert.setInt(2, i);
                    insert.setString(3, "rewritten");
                    insert.addBatch();
                }
                insert.executeBatch();
            }
            check(number(connection, "SELECT count(*) FROM java_rows WHERE client = 1000") == 1000, "rows");
        }
    }

    static void copies(Connection connection, int number) throws Exception {
        var copy = connection.unwrap(PGConnection.class).getCopyAPI();
        StringBuilder lines = new StringBuilder();
        for (int i = 0; i < 300; i++) {
            lines.append(2000 + number).append('\t').append(i).append('\t').append("x".repeat(i)).append('\n');
        }
        check(copy.copyIn("COPY java_rows FROM STDIN", new StringReader(lines.toString())) == 300, "copied in");
        StringWriter out = new StringWriter();
        check(copy.copyOut("COPY (SELECT * FROM java_rows WHERE client = " + (2000 + number) + " ORDER BY i) TO STDOUT", out) == 300,
            "copied out");
        check(out.toString().contentEquals(lines), "other lines");
        fails("22P02", () -> copy.copyIn("COPY java_rows FROM STDIN", new StringReader("no number\n")));
        check(number(connection, "SELECT 1") == 1, "after it");
    }

    static void errorsInTransactions(Connection connection, int number) throws Exception {
        connection.setAutoCommit(false);
        execute(connection, "INSERT INTO java_rows VALUES (-1000, " + number + ", 'lost')");
        fails("22012", () -> number(connection, "SELECT 1/0"));
        fails("25P02", () -> number(connection, "SELECT 1"));
        connection.rollback();
        execute(connection, "INSERT INTO java_rows VALUES (-2000, " + number + ", 'kept')");
        Savepoint savepoint = connection.setSavepoint();
        fails("42P01", () -> execute(connection, "SELECT * FROM nowhere"));
        connection.rollback(savepoint);
        connection.commit();
        check(number(connection, "SELECT count(*) FROM java_rows WHERE client = -1000") == 0, "a row of a failed transaction");
        check(number(connection, "SELECT count(*) FROM java_rows WHERE client = -2000 AND i = " + number) == 1, "no row");
        connection.rollback();
    }

    static void autosave() throws Exception {
        try (Connection connection = connect("autosave", "always")) {
            connection.setAutoCommit(false);
            for (int turn = 0; turn < 10; turn++) {
                fails("22012", () -> number(connection, "SELECT 1/0"));
                check(number(connection, "SELECT 5") == 5, "after an error");
            }
            connection.commit();
        }
    }

    static void timeouts() throws Exception {
        try (Connection connection = connect(); Statement statement = connection.createStatement()) {
            for (int turn = 0; turn < 2; turn++) {
                statement.setQueryTimeout(1);
                fails("57014", () -> statement.executeQuery("SELECT pg_sleep(600)"));
                statement.setQueryTimeout(0);
                check(number(connection, "SELECT 1 FROM pg_sleep(0.02)") == 1, "after a timeout");
            }
            for (int turn = 0; turn < 5; turn++) {
                Thread other = new Thread(() -> {
                    try {
                        Thread.sleep(100);
                        statement.cancel();
                    } catch (Exception failure) {
                        failure.printStackTrace();
                    }
                });
                other.start();
                fails("57014", () -> statement.executeQuery("SELECT pg_sleep(600)"));
                other.join();
                check(number(connection, "SELECT 1 FROM pg_sleep(0.02)") == 1, "after a cancel");
            }
        }
    }

    static void listening() throws Exception {
        try (Connection listener = connect(); Connection speaker = connect()) {
            execute(listener, "LISTEN news");
            for (int turn = 0; turn < 5; turn++) {
                execute(speaker, "NOTIFY news, 'news " + turn + "'");
                PGNotification[] heard = listener.unwrap(PGConnection.class).getNotifications(15000);
                check(heard != null && heard.length == 1 && heard[0].getParameter().equals("news " + turn), turn);
            }
        }
    }

    static void largeRows() throws Exception {
        String large = "0123456789abcdef".repeat(1 << 20);
        try (Connection connection = connect(); PreparedStatement echo = connection.prepareStatement("SELECT ?::text")) {
            for (int turn = 0; turn < 7; turn++) {
                echo.setString(1, large);
                try (ResultSet rows = echo.executeQuery()) {
                    check(rows.next() && rows.getString(1).equals(large), "other bytes");
                }
            }
        }
    }

    static void cursors(Connection connection, int number) throws SQLException {
        connection.setAutoCommit(false);
        for (int turn = 0; turn < 7; turn++) {
            try (PreparedStatement statement = connection.prepareStatement("SELECT i FROM generate_series(1, ?) i")) {
                statement.setFetchSize(100);
                statement.setInt(1, 1000);
                int seen = 0;
                try (ResultSet rows = statement.executeQuery()) {
                    while (rows.next()) {
                        check(rows.getInt(1) == ++seen, seen);
                    }
                }
                check(seen == 1000, seen);
            }
            connection.commit();
        }
    }

    static void properties(Connection connection, int number) throws Exception {
        String name = "client " + number;
        connection.setClientInfo("ApplicationName", name);
        connection.setReadOnly(number % 2 == 0);
        connection.setTransactionIsolation(number % 3 == 0 ? Connection.TRANSACTION_SERIALIZABLE : Connection.TRANSACTION_READ_COMMITTED);
        connection.setSchema(number % 5 == 0 ? "pg_catalog" : "public");
        connection.setAutoCommit(false);
        for (int turn = 0; turn < 7; turn++) {
            try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(
                    "SELECT current_setting('application_name'), current_setting('transaction_read_only'),"
                    + " current_setting('transaction_isolation'), current_schema()")) {
                rows.next();
                check(rows.getString(1).equals(name) && rows.getString(2).equals(number % 2 == 0 ? "on" : "off")
                    && rows.getString(3).equals(number % 3 == 0 ? "serializable" : "read committed")
                    && rows.getString(4).equals(number % 5 == 0 ? "pg_catalog" : "public"),
                    number + ": " + rows.getString(1) + ", " + rows.getString(2) + ", " + rows.getString(3) + ", " + rows.getString(4));
            }
            connection.commit();
        }
    }

    public static void main(String[] arguments) throws Exception {
        try (Connection connection = connect()) {
            execute(connection, "CREATE TABLE java_rows (client int, i int, t text)");
        }
        step("simple and extended", Driver::simpleAndExtended);
        step("prepared statements of many clients", () -> everyone(Driver::preparedStatements));
        step("batches", () -> everyone(Driver::batches));
        step("rewritten batches", Driver::rewrittenBatches);
        step("copies", () -> everyone(Driver::copies));
        step("errors in transactions", () -> everyone(Driver::errorsInTransactions));
        step("autosave", Driver::autosave);
        step("timeouts and cancels", Driver::timeouts);
        step("listening", Driver::listening);
        step("large rows", Driver::largeRows);
        step("cursors", () -> everyone(Driver::cursors));
        step("properties of each connection", () -> everyone(Driver::properties));
        System.exit(failed ? 1 : 0);
    }
}
