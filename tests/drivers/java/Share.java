// Reads through pgjdbc, each by itself or a few in a transaction. For each line of its input it runs all of them and says
// "done". Share PROPERTIES autocommit|transactions FILE; the properties are those of the driver as NAME=VALUE,… and
// fetchSize, which is one of statements; a line of the file is SQL with ?, then a type and a value for each parameter, between tabs;
// an empty one ends a transaction. WEIR_URL says where.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.math.BigDecimal;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.OffsetDateTime;
import java.util.Properties;
import java.util.stream.Stream;

public class Share {
    static void set(PreparedStatement statement, int number, String type, String value) throws SQLException {
        switch (type) {
            case "int" -> statement.setInt(number, Integer.parseInt(value));
            case "ints" -> statement.setArray(number, statement.getConnection().createArrayOf("int4",
                Stream.of(value.split(",")).map(Integer::valueOf).toArray()));
            case "time" -> statement.setObject(number, OffsetDateTime.parse(value));
            case "price" -> statement.setBigDecimal(number, new BigDecimal(value));
            default -> statement.setString(number, value);
        }
    }

    static void read(Connection connection, String line, int fetchSize) throws SQLException {
        String[] parts = line.split("\t");
        try (PreparedStatement statement = connection.prepareStatement(parts[0])) {
            statement.setFetchSize(fetchSize);
            for (int i = 1; i < parts.length; i += 2) {
                set(statement, (i + 1) / 2, parts[i], parts[i + 1]);
            }
            int count = 0;
            try (ResultSet rows = statement.executeQuery()) {
                while (rows.next()) {
                    count++;
                }
            }
            if (count == 0) {
                throw new AssertionError("no rows: " + line);
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        for (String one : arguments[0].split(",")) {
            if (one.contains("=")) {
                properties.setProperty(one.substring(0, one.indexOf('=')), one.substring(one.indexOf('=') + 1));
            }
        }
        int fetchSize = Integer.parseInt(properties.getProperty("fetchSize", "0"));
        properties.remove("fetchSize");
        boolean isSingle = arguments[1].equals("autocommit");
        String[] units = Files.readString(Path.of(arguments[2])).strip().split("\n\n");
        try (Connection connection = DriverManager.getConnection(System.getenv("WEIR_URL"), properties)) {
            connection.setAutoCommit(isSingle);
            System.out.println("ready");
            BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
            while (input.readLine() != null) {
                for (String unit : units) {
                    for (String line : unit.split("\n")) {
                        read(connection, line, fetchSize);
                    }
                    if (!isSingle) {
                        connection.commit();
                    }
                }
                System.out.println("done");
            }
        }
    }
}
