/* A stand-in for MotherDuck's extension, for tests only: it knows nothing of MotherDuck but what is publicly documented
 * about its options, and reads a local DuckDB file, `<database>.duckdb` beside itself. What it shall do stands in the
 * file `standin.conf` beside itself, a "name value" a line:
 *
 *   token T          the token that signs in
 *   sign_in_ms N     how long that takes
 *   read_scaling no  READ_ONLY is refused, as for a token that may write
 *   lock yes         the configuration is locked after signing in
 *
 * Functions: standin_given(name) is the value of an option as it came; standin_lose(i) fails for i = 500000, as a
 * connection that dies in the middle of a result; standin_probe(what) tries something on the thread that signing in
 * started, and tells how that went; standin_print(text) prints to stderr. PRAGMA print_md_token is there, as documented. */
#include <arpa/inet.h>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <map>
#include <mutex>
#include <sys/mman.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include "duckdb.hpp"
#include "duckdb/catalog/duck_catalog.hpp"
#include "duckdb/function/pragma_function.hpp"
#include "duckdb/common/vector_operations/unary_executor.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/config.hpp"
#include "duckdb/main/extension/extension_loader.hpp"
#include "duckdb/parser/parsed_data/attach_info.hpp"
#include "duckdb/storage/storage_extension.hpp"
#include "duckdb/transaction/duck_transaction_manager.hpp"

using namespace duckdb;

static std::map<string, string> given;
static bool signed_in = false;

/* The thread of the client: does one thing at a time that it is asked. */
struct Prober {
    std::mutex lock;
    std::condition_variable changed;
    string question, answer;
    bool asked = false, answered = false;
};
static Prober &prober = *new Prober; /* never destroyed: its thread does not end */

static string outcome(int result)
{
    return result >= 0 ? "ok" : strerrorname_np(errno);
}

static int connect_to(int family, int type, int port)
{
    int fd = socket(family, type, 0);
    if (fd < 0)
        return -1;
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int result = connect(fd, reinterpret_cast<sockaddr *>(&to), sizeof to), saved = errno;
    close(fd);
    errno = saved;
    return result;
}

static string probe(const string &what)
{
    if (what == "uid")
        return std::to_string(getuid());
    if (what == "executable memory")
        return outcome(mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
    if (what == "unix socket")
        return outcome(socket(AF_UNIX, SOCK_STREAM, 0));
    if (what == "raw socket")
        return outcome(socket(AF_INET, SOCK_RAW, 1));
    if (what == "netlink")
        return outcome(socket(AF_NETLINK, SOCK_RAW, 0));
    if (what == "listen")
        return outcome(listen(socket(AF_INET, SOCK_STREAM, 0), 1));
    if (what.rfind("connect ", 0) == 0)
        return outcome(connect_to(AF_INET, SOCK_STREAM, std::stoi(what.substr(8))));
    if (what.rfind("read ", 0) == 0)
        return outcome(open(what.substr(5).c_str(), O_RDONLY));
    if (what.rfind("write ", 0) == 0)
        return outcome(open(what.substr(6).c_str(), O_WRONLY | O_CREAT, 0600));
    if (what == "setuid")
        return outcome(setuid(0));
    if (what == "exec")
        return outcome(execl("/bin/true", "true", nullptr));
    return "?";
}

static void probe_loop()
{
    std::unique_lock<std::mutex> guard(prober.lock);
    for (;;) {
        prober.changed.wait(guard, [] { return prober.asked; });
        prober.asked = false;
        prober.answer = probe(prober.question);
        prober.answered = true;
        prober.changed.notify_all();
    }
}

static string ask(const string &question)
{
    std::unique_lock<std::mutex> guard(prober.lock);
    prober.question = question;
    prober.asked = true;
    prober.answered = false;
    prober.changed.notify_all();
    prober.changed.wait(guard, [] { return prober.answered; });
    return prober.answer;
}

static string directory(ClientContext &context)
{
    Value value;
    context.TryGetCurrentSetting("extension_directory", value);
    return value.ToString() + "/v1.5.5/linux_amd64/";
}

static std::map<string, string> read_conf(const string &path)
{
    std::map<string, string> conf;
    std::ifstream in(path);
    for (string name, value; in >> name >> value;)
        conf[name] = value;
    return conf;
}

static unique_ptr<Catalog> attach(optional_ptr<StorageExtensionInfo>, ClientContext &context, AttachedDatabase &db,
                                  const string &, AttachInfo &info, AttachOptions &options)
{
    auto beside = directory(context);
    auto conf = read_conf(beside + "standin.conf");
    for (auto name : {"motherduck_token", "motherduck_attach_mode", "motherduck_saas_mode", "custom_user_agent",
                      "autoinstall_known_extensions", "autoload_known_extensions", "allow_community_extensions",
                      "extension_directory", "access_mode", "threads"}) {
        Value value;
        if (context.TryGetCurrentSetting(name, value))
            given[name] = value.ToString();
    }
    given["attach_access"] = options.access_mode == AccessMode::READ_ONLY ? "read_only" : "other";
    given["path"] = info.path;
    std::thread(probe_loop).detach();
    if (!conf["sign_in_ms"].empty())
        std::this_thread::sleep_for(std::chrono::milliseconds(std::stoi(conf["sign_in_ms"])));
    if (given["motherduck_token"] != conf["token"])
        throw InvalidInputException("Invalid MotherDuck token: " + given["motherduck_token"] + " (stand-in)");
    if (conf["read_scaling"] == "no" && options.access_mode == AccessMode::READ_ONLY)
        throw InvalidInputException("Opening in read-only mode needs a read scaling token (stand-in)");
    auto name = info.path.rfind("md:", 0) == 0 ? info.path.substr(3) : info.path;
    info.path = beside + name + ".duckdb";
    if (access(info.path.c_str(), R_OK) < 0)
        throw CatalogException("no database/share named '" + name + "' found (stand-in)");
    options.access_mode = AccessMode::READ_ONLY; /* a writer would need a directory that it may write */
    if (conf["lock"] == "yes")
        DBConfig::GetConfig(context).SetOptionByName("lock_configuration", Value::BOOLEAN(true));
    signed_in = true;
    return make_uniq<DuckCatalog>(db);
}

static unique_ptr<TransactionManager> transactions(optional_ptr<StorageExtensionInfo>, AttachedDatabase &db, Catalog &)
{
    return make_uniq<DuckTransactionManager>(db);
}

static void refuse_change(ClientContext &, SetScope, Value &)
{
    if (signed_in)
        throw InvalidInputException("this option cannot be changed after signing in (stand-in)");
}

static void over_text(DataChunk &args, Vector &result, const std::function<string(const string &)> &f)
{
    UnaryExecutor::Execute<string_t, string_t>(args.data[0], result, args.size(), [&](string_t text) {
        return StringVector::AddString(result, f(text.GetString()));
    });
}

static ScalarFunction volatile_function(const string &name, LogicalType argument, LogicalType result, scalar_function_t f)
{
    ScalarFunction function(name, {argument}, result, std::move(f));
    function.SetStability(FunctionStability::VOLATILE);
    return function;
}

extern "C" DUCKDB_EXTENSION_API void motherduck_duckdb_cpp_init(ExtensionLoader &loader)
{
    auto &config = DBConfig::GetConfig(loader.GetDatabaseInstance());
    for (auto name : {"motherduck_token", "motherduck_attach_mode", "motherduck_saas_mode"})
        config.AddExtensionOption(name, "of the stand-in", LogicalType::VARCHAR, Value(""), refuse_change, SetScope::GLOBAL);
    auto storage = make_shared_ptr<StorageExtension>();
    storage->attach = attach;
    storage->create_transaction_manager = transactions;
    StorageExtension::Register(config, "motherduck", storage);
    StorageExtension::Register(config, "md", storage);
    loader.RegisterFunction(PragmaFunction::PragmaStatement("print_md_token", [](ClientContext &, const FunctionParameters &) {
        return string("SELECT current_setting('motherduck_token') AS token");
    }));
    auto text = LogicalType::VARCHAR;
    loader.RegisterFunction(volatile_function("standin_given", text, text, [](DataChunk &args, ExpressionState &, Vector &result) {
        over_text(args, result, [](const string &name) { return given[name]; });
    }));
    loader.RegisterFunction(volatile_function("standin_probe", text, text, [](DataChunk &args, ExpressionState &, Vector &result) {
        over_text(args, result, ask);
    }));
    loader.RegisterFunction(volatile_function("standin_print", text, text, [](DataChunk &args, ExpressionState &, Vector &result) {
        over_text(args, result, [](const string &words) {
            fprintf(stderr, "%s\n", words.c_str());
            return "printed";
        });
    }));
    auto number = LogicalType::BIGINT;
    loader.RegisterFunction(volatile_function("standin_lose", number, number, [](DataChunk &args, ExpressionState &, Vector &result) {
        UnaryExecutor::Execute<int64_t, int64_t>(args.data[0], result, args.size(), [](int64_t i) {
            if (i == 500000)
                throw IOException("the connection to MotherDuck was lost (stand-in)");
            return i;
        });
    }));
}
