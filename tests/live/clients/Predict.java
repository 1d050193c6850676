import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;

/** The JDK's client with its default settings, which offer HTTP/2 with every call: java Predict.java GATEWAY BODY TIMES */
public class Predict {
    public static void main(String[] words) throws Exception {
        var client = HttpClient.newHttpClient();
        var request = HttpRequest.newBuilder(URI.create(words[0] + "/predict"))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(words[1]))
                .build();
        for (int time = 0; time < Integer.parseInt(words[2]); time++) {
            say(client.send(request, HttpResponse.BodyHandlers.ofString()));
        }
        var together = new ArrayList<java.util.concurrent.CompletableFuture<HttpResponse<String>>>();
        for (int time = 0; time < Integer.parseInt(words[2]); time++) {
            together.add(client.sendAsync(request, HttpResponse.BodyHandlers.ofString()));
        }
        for (var answer : together) {
            say(answer.get());
        }
    }

    private static void say(HttpResponse<String> answer) {
        System.out.println(answer.statusCode() + " " + answer.body());
    }
}
