package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"troth/internal/api"
	"troth/internal/fleet"
)

// maxCheckRequest bounds a CheckRequest in bytes: headers of a request and a
// certificate. Its body is not needed.
const maxCheckRequest = 256 << 10

// extAuthz answers Envoy's external authorization, gRPC service
// envoy.service.auth.v3.Authorization, on the service's own port.
type extAuthz struct {
	authv3.UnimplementedAuthorizationServer
	edge *edge
}

func (e *edge) extAuthzRoute() {
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxCheckRequest))
	authv3.RegisterAuthorizationServer(server, extAuthz{edge: e})
	e.mux.HandleFunc("POST "+api.PathExtAuthz, func(w http.ResponseWriter, r *http.Request) {
		token, err := e.operator(r.Context(), r.Header.Get("Authorization"), r.RemoteAddr, actionAccess, "", false)
		if err != nil {
			p := render(e.fail(r.Context(), err))
			writeProblem(w, r, p.Status, p.Problem)
			return
		}
		// Trailers, and what else gRPC needs of HTTP/2, are its own business.
		server.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), tokenKey{}, token)))
	})
}

// Check says whether the device behind a proxied request may make it. Whatever is
// no clear answer is an error, at which Envoy refuses the request unless it is
// told otherwise.
func (a extAuthz) Check(ctx context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	request := in.GetAttributes().GetRequest().GetHttp()
	der, ok := escapedPEM(in.GetAttributes().GetSource().GetCertificate())
	if !ok {
		return denied(ctx, fleet.Errorf(fleet.Refused, "device_unnamed", "no client certificate came with the request: it needs one, and the filter include_peer_certificate")), nil
	}
	id, answer, err := a.edge.decide(ctx, tokenOf(ctx), "", der, strings.ToLower(request.GetMethod()), request.GetPath())
	switch {
	case err == nil:
		return allowed(string(id), string(answer.Verdict)), nil
	case fleet.IsKind(err, fleet.Refused), fleet.IsKind(err, fleet.Invalid):
		return denied(ctx, err), nil
	}
	p := render(a.edge.fail(ctx, err))
	code := codes.Internal
	if p.Status == http.StatusServiceUnavailable {
		code = codes.Unavailable
	}
	return nil, status.Error(code, p.Detail)
}

// allowed tells the service behind the proxy which device it is. What the client
// sent under these names is replaced.
func allowed(device, verdict string) *authv3.CheckResponse {
	header := func(name, value string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: name, Value: value},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{header("x-troth-device", device), header("x-troth-verdict", verdict)},
		}},
	}
}

// denied answers the client with the problem.
func denied(ctx context.Context, err error) *authv3.CheckResponse {
	p := render(err)
	p.Status, p.Title = http.StatusForbidden, http.StatusText(http.StatusForbidden)
	p.RequestID = requestID(ctx)
	text, err := json.Marshal(p.Problem)
	if err != nil {
		text = nil // no body is better than none of the answer
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied), Message: p.Code},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode_Forbidden},
			Headers: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "content-type", Value: api.ProblemType}}},
			Body:    string(text),
		}},
	}
}
