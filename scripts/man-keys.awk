# awk -f man-keys.awk config/weir.ini weir.ini.5
# Prints the second file, with the line .\" KEYS replaced by what the first one says of each section and key. A test holds
# the sample against the option table, so that the manual page follows it.
function escaped(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    gsub(/'/, "\\(aq", text)
    gsub(/\^/, "\\(ha", text)
    gsub(/~/, "\\(ti", text)
    gsub(/`/, "\\(ga", text)
    return text ~ /^[.]/ ? "\\&" text : text
}
function add(line) { keys = keys line "\n" }

FNR == NR {
    if ($0 ~ /^\[/) {
        section = $1
        add(".SS " escaped(section))
    } else if (section == "") {
    } else if ($0 ~ /^; ---- /) {
        title = $0
        gsub(/^; -+ | -+$/, "", title)
        add(".SS " escaped(section ": " title))
    } else if (section == "[weir]" && $0 ~ /^;; /) {
        help = substr($0, 4)
    } else if ($0 ~ /^;; /) {
        add(".TP\n.B " escaped($2))
        sub(/^;; [^ ]+ +/, "")
        add(escaped($0))
    } else if (section == "[weir]" && help != "" && $0 ~ /^;[a-z]/) {
        key = value = substr($0, 2)
        sub(/ *=.*/, "", key)
        sub(/^[^=]*= */, "", value)
        add(".TP\n\\fB" escaped(key) "\\fR =" (value == "" ? "" : " \\fI" escaped(value) "\\fR"))
        add(escaped(help))
        help = ""
    } else if ($0 ~ /^; /) {
        add(escaped(substr($0, 3)))
    }
    next
}
$0 == ".\\\" KEYS" { printf "%s", keys; next }
{ print }
